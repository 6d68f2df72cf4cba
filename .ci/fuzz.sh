#!/usr/bin/env bash
# Runs every fuzz target of the workspace for FUZZTIME each and stops at the first finding.
set -euo pipefail
cd "$(dirname "$0")/.."
fuzztime=${FUZZTIME:-3s}
grep -rlE '^func Fuzz[A-Za-z]*\(' --include='*_test.go' pkg services | sort | while read -r file; do
	for target in $(sed -nE 's/^func (Fuzz[A-Za-z]*)\(.*/\1/p' "$file"); do
		echo "fuzz $(dirname "$file") $target $fuzztime"
		go test "./$(dirname "$file")" -run '^$' -fuzz "^$target\$" -fuzztime "$fuzztime" -parallel 2 </dev/null
	done
done
