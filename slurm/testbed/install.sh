#!/usr/bin/env bash
# install.sh: make sure that SLURM's and munge's programs are there, from the packages of Debian or Ubuntu.
#
# Installs nothing where they are already. Ends with code 77 and one sentence where they cannot be had.
set -euo pipefail

cannot() {
    echo "SLURM test cluster: $1" >&2
    exit 77
}

PATH=$PATH:/usr/sbin
missing=
for program in slurmctld slurmd munged srun sbatch scontrol squeue; do
    command -v "$program" >/dev/null || missing=$program
done
[ -n "$missing" ] || exit 0

[ "$(id -u)" = 0 ] || cannot "there is no $missing, and installing slurm-wlm and munge needs root."
command -v apt-get >/dev/null || cannot "there is no $missing, and no apt-get to install slurm-wlm and munge with."
# Only the programs are wanted: policy-rc.d (code 101: forbidden) keeps the packages from starting daemons of their own.
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
    trap 'rm -f "$policy"' EXIT
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod +x "$policy"
fi
log=$(mktemp)
{
    apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends slurm-wlm munge
} >"$log" 2>&1 || cannot "slurm-wlm and munge cannot be installed: $(grep -m1 '^E:' "$log" || tail -n 1 "$log")"
rm -f "$log"
