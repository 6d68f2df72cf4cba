#!/usr/bin/env bash
# Runs every fuzz target of the workspace for FUZZTIME each, as many side by side as there are processors, each on one. Fails
# if any finds something.
set -euo pipefail
cd "$(dirname "$0")/.."
export FUZZTIME=${FUZZTIME:-3s}

# fuzz runs one target, and prints what it has to say at its end, so that the outputs do not mix.
fuzz() {
	local output status=0
	output=$(go test "./$1" -run '^$' -fuzz "^$2\$" -fuzztime "$FUZZTIME" -parallel 1 </dev/null 2>&1) || status=$?
	echo "fuzz $1 $2 $FUZZTIME: $(tail -n 2 <<<"$output" | head -n 1)"
	if [ "$status" != 0 ]; then
		echo "$output"
	fi
	return "$status"
}
export -f fuzz

grep -rlE '^func Fuzz[A-Za-z]*\(' --include='*_test.go' pkg services | sort | while read -r file; do
	sed -nE "s#^func (Fuzz[A-Za-z]*)\(.*#$(dirname "$file") \1#p" "$file"
done | xargs -P "$(nproc)" -n 2 bash -c 'fuzz "$@"' fuzz
