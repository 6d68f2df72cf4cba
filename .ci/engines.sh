#!/usr/bin/env bash
# Runs the contract suites of what speaks to engines on real servers: on the one that NATS_URL names, or on one that is
# started here, on a free port, and stopped at the end.
# usage: engines.sh NATS_SERVER
set -euo pipefail
cd "$(dirname "$0")/.."

if [ -z "${NATS_URL:-}" ]; then
	dir=$(mktemp -d)
	"$1" --addr 127.0.0.1 --port -1 --ports_file_dir "$dir" --log "$dir/log" &
	pid=$!
	trap 'kill "$pid"; wait "$pid" || true; rm -rf "$dir"' EXIT
	for _ in $(seq 100); do
		NATS_URL=$(grep -ho 'nats://[0-9.:]*' "$dir"/*.ports 2>/dev/null | head -n 1) && break
		kill -0 "$pid" || { cat "$dir/log"; exit 1; }
		sleep 0.1
	done
fi
echo "NATS at $NATS_URL"
export NATS_URL
go test -race -count=1 ./pkg/bus/...
