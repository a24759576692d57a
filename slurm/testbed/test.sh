#!/usr/bin/env bash
# test.sh PYTHON: run the tests marked `slurm` on a test cluster of two nodes that is started for them.
#
# Where there can be none, says so in one sentence and ends with code 0: it is no fault of the code.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
WEGEFT_TESTBED=$(mktemp -d)/slurm
export WEGEFT_TESTBED

status=0
NODES=2 "$here/start.sh" "$WEGEFT_TESTBED" >/dev/null || status=$?
trap '"$here/stop.sh" "$WEGEFT_TESTBED"; rmdir "$(dirname "$WEGEFT_TESTBED")"' EXIT
if [ "$status" = 77 ]; then
    echo "SKIPPED: the tests on a real SLURM were not run; the reason stands above."
    exit 0
fi
[ "$status" = 0 ] || exit "$status"
# One worker per node: the sweep on the first, the runs that are disturbed on the second.
OMP_NUM_THREADS=1 "$1" -m pytest -m slurm --numprocesses 2 --dist loadfile tests/slurm
