#!/bin/sh
# Make the virtual environment .venv and install what requirements.lock pins, then this package.
#
# `make setup` calls it, with the Python to use in PYTHON, when the environment is missing or older than the lock.
# It needs Python 3.11 or later with venv, and a package registry or a folder of wheels. torch comes in the build
# the registry offers: CUDA where it has one; UV_TORCH_BACKEND=cpu asks for the CPU build.
set -eu
cd "$(dirname "$0")/.."

UV_VERSION=0.13.8
PYTHON=${PYTHON:-python3}

fail() {
    echo "setup: $1" >&2
    exit 2
}

# Where pip has been told to look for wheels, in uv's form (commas); folders that do not exist are an error to uv.
find_links() {
    set -f
    for place in ${PIP_FIND_LINKS:-$(.venv/bin/python -m pip config get global.find-links 2>/dev/null || true)}; do
        case $place in
            *://*) printf '%s,' "$place" ;;
            *) if [ -d "$place" ]; then printf '%s,' "$place"; fi ;;
        esac
    done
    set +f
}

command -v "$PYTHON" >/dev/null ||
    fail "'$PYTHON' is not there; install Python 3.11 or later, or name one: make setup PYTHON=/path/to/python"
"$PYTHON" -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
    fail "'$PYTHON' is $("$PYTHON" --version), and 3.11 or later is needed: make setup PYTHON=/path/to/python"
"$PYTHON" -c 'import ensurepip' 2>/dev/null ||
    fail "'$PYTHON' cannot make virtual environments; on Debian or Ubuntu: apt-get install python3-venv"

.venv/bin/python -m pip --version >/dev/null 2>&1 || "$PYTHON" -m venv --clear .venv
[ "$(.venv/bin/uv --version 2>/dev/null | cut -d' ' -f2)" = "$UV_VERSION" ] ||
    .venv/bin/python -m pip install --quiet --disable-pip-version-check "uv==$UV_VERSION"

links=$(find_links)
if [ -z "${UV_FIND_LINKS:-}" ] && [ -n "$links" ]; then
    export UV_FIND_LINKS="${links%,}"
fi
export VIRTUAL_ENV="$PWD/.venv"
# Bytecode is compiled once here, because PYTHONDONTWRITEBYTECODE would let every process compile it anew.
.venv/bin/uv pip install --compile-bytecode --requirements requirements.lock
.venv/bin/uv pip install --no-deps --editable .
# An older environment has this plugin, whose hydra/launcher=submitit_local would hide ours.
.venv/bin/uv pip uninstall --quiet hydra-submitit-launcher
.venv/bin/python scripts/repair_torchvision.py
