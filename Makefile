# Everything here runs with Go alone, but for test-engines, which installs the engines it needs.
MODULES  := pkg services/auth services/keys services/messages services/poll-gateway services/standalone
GOLANGCI_VERSION := v2.15.0
BIN      := $(CURDIR)/bin
# The race detector needs a C compiler.
RACE     := $(if $(shell command -v gcc || command -v clang),-race,)
# How long each fuzz target runs in `make test`.
FUZZTIME ?= $(if $(CI),30s,3s)
# Statement coverage below which `make test` fails, for the packages that hold the domain.
COVERAGE := 85

.PHONY: help
help: ## list the commands
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 16

.PHONY: build
build: ## build the standalone server and the command line into bin/
	go build -o $(BIN)/ ./services/standalone ./pkg/cmd/sealpost

.PHONY: run
run: build ## start the standalone server on :3001, data in ./data
	exec $(BIN)/standalone

.PHONY: test
test: vet unit coverage fuzz ## vet, unit, contract and end-to-end tests on the embedded default

.PHONY: vet
vet:
	go vet $(foreach m,$(MODULES),./$(m)/...)

.PHONY: unit
unit:
	@test -n "$(RACE)" || echo "no C compiler: running without the race detector"
	go test $(RACE) $(foreach m,$(MODULES),./$(m)/...)

.PHONY: coverage
coverage:
	go run ./pkg/internal/coverage -least $(COVERAGE)

.PHONY: fuzz
fuzz:
	FUZZTIME=$(FUZZTIME) bash deploy/ci/fuzz.sh

.PHONY: lint
lint: $(BIN)/golangci-lint ## formatting, linters, module tidiness, import rules
	bash deploy/ci/lint.sh $(BIN)/golangci-lint $(MODULES)

$(BIN)/golangci-lint: Makefile
	GOWORK=off GOBIN=$(BIN) go install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(GOLANGCI_VERSION)
	touch $@

.PHONY: clean
clean: ## remove what was built
	rm -rf $(BIN)
