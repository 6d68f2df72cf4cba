#!/usr/bin/env bash
# Holds what the chart renders against the schemas of the oldest Kubernetes that it is for, by kubectl-validate, whose path is
# the argument: it has them embedded. What others define (Gateway API, the operator of Prometheus, Envoy Gateway) is left to
# the tests of deploy/helm.
set -euo pipefail
validate=$1
cd "$(dirname "$0")/../deploy/helm"
oldest=$(sed -n 's/^kubeVersion: ">=\([0-9]*\.[0-9]*\).*/\1/p' sealpost/Chart.yaml)
dir=$(mktemp -d)
trap 'rm -r "$dir"' EXIT
for file in testdata/golden/*.yaml; do
	awk 'BEGIN { RS = "\n---\n"; ORS = RS } !/apiVersion: (gateway\.|monitoring\.coreos\.com)/' "$file" >"$dir/$(basename "$file")"
done
# It says OK of each file, in colour; only what is wrong is worth a look.
if ! "$validate" --version "$oldest" "$dir" >"$dir/said" 2>&1; then
	cat "$dir/said" >&2
	exit 1
fi
echo "kubectl-validate: $(ls testdata/golden/*.yaml | wc -l) releases fit Kubernetes $oldest"
