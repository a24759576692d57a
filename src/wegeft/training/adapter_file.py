"""The file a trained adapter is kept in: safetensors, written whole or not at all.

Does not: know what is in an adapter (the method does).
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import safetensors.torch
import torch
from safetensors import SafetensorError, safe_open

from wegeft.errors import UserError
from wegeft.files import write_atomically
from wegeft.methods.base import Method, check_state

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
    with _read_errors(path):
        state = safetensors.torch.load_file(path)
    method.load_adapter_state(state)


def check(method: Method, path: Path) -> None:
    """Raise what :func:`load` would, by names and shapes alone: ``method`` may be attached on the meta device."""
    if not method.trainable():
        return
    with _read_errors(path), safe_open(path, framework="pt") as file:
        names = file.keys()
        shapes = {name: torch.empty(file.get_slice(name).get_shape(), device="meta") for name in names}
    check_state(method.adapter_state(), shapes)


@contextmanager
def _read_errors(path: Path) -> Iterator[None]:
    """Say in one sentence that ``path`` cannot be read, and why."""
    try:
        yield
    except FileNotFoundError as error:
        raise UserError(f"adapter file {path} does not exist: train the run first, or give adapter=FILE.") from error
    except OSError as error:
        raise UserError(f"adapter file {path} cannot be read: {error}.") from error
    except SafetensorError as error:
        raise UserError(f"adapter file {path} is not a safetensors file: {error}.") from error
