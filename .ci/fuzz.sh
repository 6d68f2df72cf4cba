#!/usr/bin/env bash
# Runs every fuzz target of the workspace for FUZZTIME each, as many side by side as there are processors, each on one. Fails
# if any finds something.
set -euo pipefail
cd "$(dirname "$0")/.."
export FUZZTIME=${FUZZTIME:-3s}

# timed_out tells the race of Go before 1.27 (go.dev/issue/75804) from a finding: now and then the end of FUZZTIME itself is
# reported as the target's failure, with no input, and nothing said but that the time is over.
timed_out() {
	[[ $1 == *$'\n    context deadline exceeded\nFAIL'* && $1 != *'Failing input written'* && $1 != *panic:* ]]
}

# fuzz runs one target, once more if its time ended in that race, and prints what it has to say at its end, so that the
# outputs do not mix.
fuzz() {
	local output status=0
	output=$(attempt "$@") || status=$?
	if [ "$status" != 0 ] && timed_out "$output"; then
		echo "fuzz $1 $2 $FUZZTIME: the end of its time was taken for a failure, once more"
		status=0
		output=$(attempt "$@") || status=$?
	fi
	echo "fuzz $1 $2 $FUZZTIME: $(tail -n 2 <<<"$output" | head -n 1)"
	if [ "$status" != 0 ]; then
		echo "$output"
	fi
	return "$status"
}

attempt() {
	go test "./$1" -run '^$' -fuzz "^$2\$" -fuzztime "$FUZZTIME" -parallel 1 </dev/null 2>&1
}
export -f fuzz attempt timed_out

grep -rlE '^func Fuzz[A-Za-z]*\(' --include='*_test.go' pkg services deploy/test | sort | while read -r file; do
	sed -nE "s#^func (Fuzz[A-Za-z]*)\(.*#$(dirname "$file") \1#p" "$file"
done | xargs -P "$(nproc)" -n 2 bash -c 'fuzz "$@"' fuzz
