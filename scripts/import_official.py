"""Turn an adapter that WeGeFT's authors released into one of this suite's.

``python scripts/import_official.py SOURCE adapter.safetensors --task fgvc/cub``, where SOURCE is a ``last.pth.tar`` of
a vision run or an adapter folder of the authors' PEFT fork. Prints the command that evaluates the result.

Does not: run code from the files, or fetch anything.
"""

import argparse
import shlex
import sys
from pathlib import Path
from typing import Any

import safetensors.torch

from wegeft.errors import UserError
from wegeft.files import write_atomically
from wegeft.methods.official import OfficialAdapter, adapter_state, read_peft_fork, read_vision_checkpoint


def main() -> None:
    """Read, write, say how to go on."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("source", type=Path, help="last.pth.tar, or a folder with adapter_config.json")
    parser.add_argument("output", type=Path, nargs="?", default=Path("adapter.safetensors"), help="the file to write")
    parser.add_argument("--task", help="the task it was trained on, for the command, e.g. fgvc/cub")
    options = parser.parse_args()
    try:
        official = read(options.source)
    except UserError as error:
        print(error, file=sys.stderr)
        sys.exit(2)
    write_atomically(options.output, safetensors.torch.save(adapter_state(official)))
    if official.metric is not None:
        print(f"The authors' file claims {official.metric:.4f} %.")
    print(command(official, options.output, options.task))


def read(source: Path) -> OfficialAdapter:
    """The adapter in ``source``, whichever of the two formats it has."""
    if source.is_dir():
        return read_peft_fork(source)
    if source.is_file():
        return read_vision_checkpoint(source)
    raise UserError(f"{source} is neither a checkpoint nor an adapter folder.")


def command(official: OfficialAdapter, output: Path, task: str | None = None) -> str:
    """What evaluates the adapter; without a ``task``, it and the backbone are the reader's to name."""
    values = [f"method.{name}={hydra_value(value)}" for name, value in official.config.items()]
    place = [] if task is None else [f"task={task}", "scale=paper", "data.root=data"]
    words = ["mode=evaluate", "method=wegeft", *values, *place, f"adapter={output}"]
    return "python run.py " + " ".join(map(shlex.quote, words))


def hydra_value(value: Any) -> str:
    """``value`` in the grammar of Hydra's overrides; there, a backslash between quotes stands for itself."""
    if isinstance(value, list):
        return "[" + ",".join(f'"{item}"' for item in value) + "]"
    return str(value)


if __name__ == "__main__":
    main()
