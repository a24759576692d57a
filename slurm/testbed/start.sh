#!/usr/bin/env bash
# start.sh [FOLDER]: start a SLURM of its own on this machine, with everything it writes in FOLDER.
#
# NODES=1 nodes (slurmd processes), each of which claims CPUS=4 processors and two pretend GPUs. Prints the line to
# `eval`. Its key, socket, free loopback ports and configuration are its own, so a SLURM that the machine already has
# is neither asked nor disturbed. Ends with code 77 and one sentence where it cannot be had; needs root.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
DIR=${1:-${TMPDIR:-/tmp}/wegeft-slurm}
NODES=${NODES:-1}
CPUS=${CPUS:-4}
PATH=$PATH:/usr/sbin
host=$(hostname -s)

fail() {
    echo "SLURM test cluster: $1" >&2
    exit "${2:-1}"
}

# Ask again and again for at most 30 s, until COMMAND succeeds.
await() {
    for _ in $(seq 150); do
        "$@" >/dev/null 2>&1 && return
        sleep 0.2
    done
    return 1
}

free_ports() {
    python3 - "$1" <<'PYTHON'
import socket, sys
sockets = [socket.socket() for _ in range(int(sys.argv[1]))]
for each in sockets:
    each.bind(("127.0.0.1", 0))
print(*(each.getsockname()[1] for each in sockets))
PYTHON
}

configure() {
    local ports
    read -r -a ports <<<"$(free_ports $((NODES + 1)))"
    local names="n[1-$NODES]"
    local list
    list=$(IFS=, && echo "${ports[*]:1}")
    sed -e "s|@HOST@|$host|g; s|@DIR@|$DIR|g; s|@CPUS@|$CPUS|g; s|@CTLD_PORT@|${ports[0]}|g" \
        -e "s|@NODES@|$names|g; s|@PORTS@|[$list]|g" "$here/slurm.conf.in" >"$DIR/slurm.conf"
    # Two device files that every machine has stand for two GPUs: jobs get CUDA_VISIBLE_DEVICES as on a real node.
    printf 'Name=gpu File=/dev/null\nName=gpu File=/dev/zero\n' >"$DIR/gres.conf"
    echo 'CgroupPlugin=cgroup/v1' >"$DIR/cgroup.conf" # none is used, but slurmd looks for one
}

[ "$(id -u)" = 0 ] || fail "starting munged, slurmctld and slurmd needs root." 77
"$here/install.sh"
mkdir -p "$DIR"/{state,munge}
chmod 755 "$DIR" "$DIR/munge"
[ ! -e "$DIR/slurmctld.pid" ] || fail "one runs already in $DIR; $here/stop.sh $DIR stops it."
configure
export SLURM_CONF=$DIR/slurm.conf

(umask 077 && head -c 1024 /dev/urandom >"$DIR/munge/key")
munged --force --key-file="$DIR/munge/key" --socket="$DIR/munge/socket" --pid-file="$DIR/munge/munged.pid" \
    --log-file="$DIR/munge/log" --seed-file="$DIR/munge/seed"
slurmctld
await scontrol ping || fail "slurmctld does not answer; see $DIR/slurmctld.log"
for number in $(seq "$NODES"); do
    slurmd -N "n$number"
done
idle() { [ "$(sinfo --noheader --Node --partition=low --states=idle --format=%N | wc -l)" = "$NODES" ]; }
await idle || fail "not every node has come up; see $DIR/slurmd-n1.log"
echo "export SLURM_CONF=$SLURM_CONF"
