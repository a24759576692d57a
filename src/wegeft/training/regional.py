"""``training.compile``: torch.compile of the repeated blocks of a network, one by one.

All blocks have the same code, so one compilation serves them all, and what stands around them (embeddings, the choice
of label positions) may do what compilers dislike. Only training steps are compiled: generation runs as it is written.

Does not: compile methods apart from the blocks that hold them, or choose a backend.
"""

import os
import shutil
import sys
import sysconfig
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import nn

from wegeft.errors import UserError


def check_compiler(device: torch.device, key: str) -> None:
    """Raise a `UserError` that begins with ``key`` unless the machine has what compiling for ``device`` takes.

    On a GPU Triton brings its own; on a CPU the generated C++ is compiled by the system's compiler.
    """
    compiler = os.environ.get("CXX", "clang++" if sys.platform == "darwin" else "g++")
    header = Path(sysconfig.get_path("include"), "Python.h")
    missing = compiler if shutil.which(compiler) is None else None if header.is_file() else header.name
    if device.type == "cpu" and missing:
        raise UserError(
            f"{key}: compiling for a CPU needs a C++ compiler and the headers of Python, and {missing} is not there; "
            "on Debian or Ubuntu: apt-get install g++ python3-dev. CXX names another compiler."
        )


def repeated_blocks(model: nn.Module) -> list[nn.Module]:
    """The largest list of modules of one class in ``model``: its decoder layers, its transformer blocks.

    Raises:
        UserError: there is none.
    """
    lists = [module for module in model.modules() if isinstance(module, nn.ModuleList | nn.Sequential)]
    same = [list(found) for found in lists if len({type(child) for child in found}) == 1]
    if not same:
        raise UserError("training.compile=true needs a backbone of repeated blocks, and this one has none.")
    return max(same, key=lambda blocks: sum(p.numel() for block in blocks for p in block.parameters()))


@contextmanager
def compiled_blocks(model: nn.Module, backend: str = "inductor") -> Iterator[None]:
    """Within, the blocks of ``model`` run compiled, for any length of sequence."""
    blocks = repeated_blocks(model)
    for block in blocks:
        # An attribute of the instance stands in front of the method of the class, and goes away again without a trace.
        block.forward = torch.compile(block.forward, dynamic=True, backend=backend)
    try:
        yield
    finally:
        for block in blocks:
            del block.forward
