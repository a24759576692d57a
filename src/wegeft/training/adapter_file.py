"""The file a trained adapter is kept in: safetensors, written whole or not at all.

Does not: know what is in an adapter (the method does).
"""

from pathlib import Path

import safetensors.torch
from safetensors import SafetensorError

from wegeft.errors import UserError
from wegeft.files import write_atomically
from wegeft.methods.base import Method

NAME = "adapter.safetensors"


def save(method: Method, path: Path) -> None:
    """Write the state of ``method`` to ``path``."""
    state = {name: tensor.contiguous().cpu() for name, tensor in method.adapter_state().items()}
    write_atomically(path, safetensors.torch.save(state))


def load(method: Method, path: Path) -> None:
    """Read ``path`` into the attached ``method``; a method without parameters needs no file.

    Raises:
        UserError: no such file, not a safetensors file, or the adapter of another method or backbone.
    """
    if not method.trainable():
        return
    try:
        state = safetensors.torch.load_file(path)
    except FileNotFoundError as error:
        raise UserError(f"adapter file {path} does not exist: train the run first, or give adapter=FILE.") from error
    except SafetensorError as error:
        raise UserError(f"adapter file {path} is not a safetensors file: {error}.") from error
    method.load_adapter_state(state)
