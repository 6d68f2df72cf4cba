#!/usr/bin/env bash
# Checks Prometheus's rules, runs their tests and checks its configuration, with Debian's promtool. Where that is missing,
# root has it installed.
set -euo pipefail
cd "$(dirname "$0")/../deploy/prometheus"
if ! command -v promtool >/dev/null; then
	if [ "$(id -u)" != 0 ]; then
		echo "promtool is not on this machine: apt-get install prometheus" >&2
		exit 1
	fi
	# Packages start their services unless the run level says that the system is down.
	RUNLEVEL=1 DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=300 install -y --no-install-recommends prometheus >/dev/null
fi
promtool check config --syntax-only prometheus.yml
promtool check rules rules/*.yaml
# The slowest first.
ls -S tests/*.yaml | xargs -P "$(nproc)" -n 1 promtool test rules
