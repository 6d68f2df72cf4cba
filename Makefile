# Everything here runs with Go, make and bash alone, but for test-engines, which installs the engines it needs.
SHELL    := bash -o pipefail
# The workspace (go.work): what runs in production, and the tests that need nothing more than that.
SERVICES := services/auth services/keys services/messages services/poll-gateway services/standalone
MODULES  := pkg $(SERVICES) deploy/test/load deploy/test/blackbox
PACKAGES := $(foreach m,$(MODULES),./$(m)/...)
# Modules of their own, outside the workspace: what they depend on is nothing that a server should be built with. Those that
# need engines, or take long to build, are tested by `make test-engines` alone.
TOOLS    := deploy/compose deploy/helm deploy/prometheus deploy/test/bench deploy/test/simulation
HEAVY    := deploy/test/cluster deploy/test/networks
# What asks something of an engine.
ADAPTERS := $(addprefix ./pkg/,store/mongo bus revocation/redislog inbox/redisseq ratelimit/redislimit redisclient service) ./deploy/test/engines
BIN      := $(CURDIR)/bin

GOLANGCI_VERSION := v2.15.0
KUBECTL_VALIDATE_VERSION := v0.0.4

# The race detector needs a C compiler.
RACE     := $(if $(shell command -v gcc || command -v clang),-race,)
# How long each fuzz target runs in `make test`.
FUZZTIME ?= $(if $(CI),30s,3s)
# How long `make test` lets the simulator try new seeds. `make simulate SEEDS=200000` tries so many, however long that takes.
export SIM_TIME ?= $(if $(CI),4m,20s)
# How often `make bench` repeats everything, and a commit whose servers it measures by turns with today's; more flags for it: see
# `bin/bench -help`.
BENCH_RUNS  ?= 5
AGAINST     ?=
BENCH_FLAGS ?=
# The packages that hold the domain, and the statement coverage below which `make test` fails for any of them.
ROOT     := github.com/sealpost/sealpost
DOMAIN   := $(addprefix $(ROOT)/pkg/,delivery inbox password publickey ratelimit revocation token) \
            $(addprefix $(ROOT)/services/,auth/internal/accounts keys/internal/directory \
              messages/internal/messaging poll-gateway/internal/cursor poll-gateway/internal/gateway \
              poll-gateway/internal/parking)
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

.PHONY: load
load: ## build the load generator into bin/: see bin/sealpost-load --help
	go build -o $(BIN)/ ./deploy/test/load/cmd/sealpost-load

.PHONY: cluster
cluster: ## start a whole deployment here: engines, two nodes of each service, a load balancer on :3000
	go build -o $(BIN)/ $(addprefix ./,$(SERVICES)) ./pkg/cmd/sealpost
	cd deploy/test/cluster && GOWORK=off go build -o $(BIN)/ ./cmd/cluster
	exec $(BIN)/cluster

.PHONY: test
test: ## vet, unit, contract and end-to-end tests on the embedded default, with coverage; then the fuzz targets
	go vet $(PACKAGES)
	@test -n "$(RACE)" || echo "no C compiler: running without the race detector"
	@mkdir -p $(BIN)
	go test $(RACE) -covermode=atomic -coverpkg=$(subst $(space),$(comma),$(strip $(DOMAIN))) -coverprofile=$(BIN)/cover.out $(PACKAGES) \
		| sed -E 's/\tcoverage: .*//'
	@awk -v least=$(COVERAGE) -f .ci/coverage.awk $(BIN)/cover.out
	for m in $(TOOLS); do (cd $$m && GOWORK=off go vet ./... && GOWORK=off go test -tags assertions ./...) || exit 1; done
	FUZZTIME=$(FUZZTIME) bash .ci/fuzz.sh

.PHONY: simulate
simulate: ## simulated deployments and what may fail in them: SEEDS=200000 or SIM_TIME=4m of new ones; SEED=… (FAULTS=… RATES=…) replays one
	cd deploy/test/simulation && GOWORK=off go test -tags assertions -count=1 -timeout=0 -v .

.PHONY: test-engines
test-engines: test-adapters test-compose test-cluster ## the adapters and whole clusters on real engines, which it installs and starts; the failures of the design

.PHONY: test-adapters
test-adapters: ## the contract suites of the adapters on real MongoDB-compatible, Redis and NATS servers
	go run ./deploy/test/engines/cmd/engines run -- env SEALPOST_ENGINES=required go test $(RACE) -count=1 $(addsuffix /...,$(ADAPTERS))

.PHONY: test-compose
test-compose: ## docker-compose.yml and the images' binaries, as docker would build them
	cd deploy/compose && GOWORK=off SEALPOST_ENGINES=required go test -count=1 ./...

.PHONY: test-cluster
test-cluster: ## whole clusters on real engines, and the failures of the design
	cd deploy/test/cluster && GOWORK=off SEALPOST_ENGINES=required go test $(RACE) -count=1 -timeout=40m -v ./... | sed "/^=== /d"

# LONG=1 is the hour of the crowd on the worst mix instead.
LONG ?=
NETWORKS = cd deploy/test/networks && GOWORK=off LONG=$(LONG) SEALPOST_NETWORKS=$(1),required go test -count=1 -timeout=3h -v $(2) ./... | sed "/^=== /d"

.PHONY: test-networks
test-networks: ## real clients over bad links and through proxies: all of it, half an hour; LONG=1 for an hour of the crowd on the worst of them
	$(call NETWORKS,full,$(if $(LONG),-run TestTheCrowd))

.PHONY: test-networks-short
test-networks-short: ## a few of those links, proxies and clients
	$(call NETWORKS,short)

.PHONY: bench
bench: build load ## measure: the Go benchmarks, and load on the standalone server and on a whole cluster; BENCH_RUNS=1 for a quick look; AGAINST=<commit> compares
	go build -o $(BIN)/ $(addprefix ./,$(SERVICES))
	cd deploy/test/bench && GOWORK=off go build -o $(BIN)/ ./cmd/bench
	$(BIN)/bench -runs $(BENCH_RUNS) -against "$(AGAINST)" $(BENCH_FLAGS)

# Where images are named, and their tag.
IMAGES ?= sealpost
TAG    ?= dev
.PHONY: images
images: ## build the images of all services with Docker: IMAGES=registry.example/sealpost TAG=0.1.0
	for s in auth keys messages poll-gateway standalone; do \
		docker build -f deploy/docker/Dockerfile --target $$s -t $(IMAGES)/$$s:$(TAG) . || exit 1; done

.PHONY: generate
generate: ## write anew what is made of other things: dashboards, Prometheus's configuration, the chart's copies and what it renders
	cd deploy/prometheus && GOWORK=off go generate ./...
	cd deploy/helm && GOWORK=off SEALPOST_UPDATE=1 go test -count=1 -run 'TestTheChart' .

.PHONY: lint
lint: $(BIN)/golangci-lint $(BIN)/kubectl-validate ## formatting, linters, import rules, module tidiness, alert rules and their tests, the chart
	bash .ci/lint.sh $(BIN)/golangci-lint $(MODULES) deploy/test/engines $(TOOLS) $(HEAVY)
	bash .ci/promtool.sh
	bash .ci/kubernetes.sh $(BIN)/kubectl-validate

$(BIN)/golangci-lint: Makefile
	GOWORK=off GOBIN=$(BIN) go install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(GOLANGCI_VERSION)
	@touch $@

# It needs older libraries of Kubernetes than the tests of the chart: a program of its own, not a part of them.
$(BIN)/kubectl-validate: Makefile
	GOWORK=off GOBIN=$(BIN) go install sigs.k8s.io/kubectl-validate@$(KUBECTL_VALIDATE_VERSION)
	@touch $@

.PHONY: clean
clean: ## remove what was built
	rm -rf $(BIN)
