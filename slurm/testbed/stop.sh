#!/usr/bin/env bash
# stop.sh [FOLDER]: cancel what runs on the SLURM that start.sh started in FOLDER, stop it and remove FOLDER.
set -euo pipefail
DIR=${1:-${TMPDIR:-/tmp}/wegeft-slurm}
[ -e "$DIR/slurm.conf" ] || exit 0
export SLURM_CONF=$DIR/slurm.conf

# End the process of a pid file and wait for it; daemons remove the file when they are done.
end() {
    [ -s "$1" ] || return 0
    local pid
    pid=$(cat "$1")
    kill "$pid" 2>/dev/null || return 0
    for _ in $(seq 100); do
        kill -0 "$pid" 2>/dev/null || return 0
        sleep 0.1
    done
    kill -KILL "$pid" 2>/dev/null || true
}

if scontrol ping >/dev/null 2>&1; then
    scancel --user=root
    for _ in $(seq 150); do
        [ -n "$(squeue --noheader)" ] || break
        sleep 0.1
    done
fi
for file in "$DIR"/slurmd-*.pid "$DIR/slurmctld.pid" "$DIR/munge/munged.pid"; do
    end "$file"
done
rm -rf "$DIR"
