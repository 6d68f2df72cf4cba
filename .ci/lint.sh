#!/usr/bin/env bash
# Formatting, linters and import rules (.golangci.yml), and tidiness, for each module on its own.
# usage: lint.sh GOLANGCI_LINT MODULE...
set -euo pipefail
cd "$(dirname "$0")/.."
# As the images are built: a test that builds them finds everything compiled.
export CGO_ENABLED=0
linter=$1
shift
status=0
for module in "$@"; do
	echo "lint $module"
	(cd "$module" && GOWORK=off "$linter" run --allow-parallel-runners --config "$OLDPWD/.golangci.yml" ./...) || status=1
	(cd "$module" && GOWORK=off go mod tidy -diff) || status=1
	(cd "$module" && GOWORK=off go build ./...) || status=1
done
exit $status
