# Everything here runs with Go, make and bash alone, but for test-engines, which installs the engines it needs.
SHELL    := bash -o pipefail
MODULES  := pkg services/auth services/keys services/messages services/poll-gateway services/standalone deploy/engines deploy/cluster deploy/compose deploy/bench deploy/helm
# What needs engines is for `make test-engines` alone: first what one process asks of an engine, then whole clusters.
PACKAGES := $(foreach m,$(filter-out deploy/engines deploy/cluster,$(MODULES)),./$(m)/...)
ADAPTERS := $(addprefix ./pkg/,store/mongo bus revocation/redislog inbox/redisseq ratelimit/redislimit redisclient service) ./deploy/engines ./deploy/compose
CLUSTERS := ./deploy/cluster/...
BIN      := $(CURDIR)/bin

GOLANGCI_VERSION := v2.15.0

# The race detector needs a C compiler.
RACE     := $(if $(shell command -v gcc || command -v clang),-race,)
# How long each fuzz target runs in `make test`.
FUZZTIME ?= $(if $(CI),30s,3s)
# How often `make bench` repeats everything; more flags for it: see `go run ./deploy/bench/cmd/bench -help`.
BENCH_RUNS  ?= 5
BENCH_FLAGS ?=
# The packages that hold the domain, and the statement coverage below which `make test` fails for any of them.
ROOT     := github.com/sealpost/sealpost
DOMAIN   := $(addprefix $(ROOT)/pkg/,delivery inbox publickey ratelimit revocation token) \
            $(addprefix $(ROOT)/services/,auth/internal/accounts auth/internal/password keys/internal/directory \
              messages/internal/messaging poll-gateway/internal/cursor poll-gateway/internal/gateway)
COVERAGE := 85
empty    :=
comma    := ,
space    := $(empty) $(empty)

.PHONY: help
help: ## list the commands
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 16

.PHONY: build
build: ## build the standalone server and the command line into bin/
	go build -o $(BIN)/ ./services/standalone ./pkg/cmd/sealpost

.PHONY: run
run: build ## start the standalone server on :3001, data in ./data
	exec $(BIN)/standalone

.PHONY: cluster
cluster: ## start a whole deployment here: engines, two nodes of each service, a load balancer on :3000
	go build -o $(BIN)/ ./services/auth ./services/keys ./services/messages ./services/poll-gateway ./pkg/cmd/sealpost ./deploy/cluster/cmd/cluster
	exec $(BIN)/cluster

.PHONY: test
test: ## vet, unit, contract and end-to-end tests on the embedded default, with coverage; then the fuzz targets
	go vet $(PACKAGES)
	@test -n "$(RACE)" || echo "no C compiler: running without the race detector"
	@mkdir -p $(BIN)
	go test $(RACE) -covermode=atomic -coverpkg=$(subst $(space),$(comma),$(strip $(DOMAIN))) -coverprofile=$(BIN)/cover.out $(PACKAGES) \
		| sed -E 's/\tcoverage: .*//'
	@awk -v least=$(COVERAGE) -f .ci/coverage.awk $(BIN)/cover.out
	FUZZTIME=$(FUZZTIME) bash .ci/fuzz.sh

.PHONY: test-engines
test-engines: ## the adapters and whole clusters on real engines, which it installs and starts; the failures of the design
	go run ./deploy/engines/cmd/engines run -- env SEALPOST_ENGINES=required go test $(RACE) -count=1 $(addsuffix /...,$(ADAPTERS))
	SEALPOST_ENGINES=required go test $(RACE) -count=1 -timeout=25m -v $(CLUSTERS) | sed "/^=== /d"

.PHONY: bench
bench: build ## measure: the Go benchmarks, and load on the standalone server; BENCH_RUNS=1 for a quick look
	go run ./deploy/bench/cmd/bench -runs $(BENCH_RUNS) $(BENCH_FLAGS)

.PHONY: bench-cluster
bench-cluster: build ## measure the same load on a whole deployment, with its engines
	go build -o $(BIN)/ ./services/auth ./services/keys ./services/messages ./services/poll-gateway
	go run ./deploy/bench/cmd/bench -cluster -code=false -runs $(BENCH_RUNS) $(BENCH_FLAGS)

.PHONY: chart
chart: ## copy the rules and dashboards into the Helm chart, and write what it renders anew
	SEALPOST_UPDATE=1 go test -count=1 -run 'TestTheChart' ./deploy/helm

.PHONY: lint
lint: $(BIN)/golangci-lint ## formatting, linters, import rules, module tidiness
	bash .ci/lint.sh $(BIN)/golangci-lint $(MODULES)

$(BIN)/golangci-lint: Makefile
	GOWORK=off GOBIN=$(BIN) go install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(GOLANGCI_VERSION)
	@touch $@

.PHONY: clean
clean: ## remove what was built
	rm -rf $(BIN)
