"""A method attached to a skeleton for a moment."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from torch import nn

from wegeft.methods import build_method
from wegeft.methods.base import Method


@contextmanager
def attached(node: Mapping[str, Any], heads: Sequence[str], skeleton: nn.Module) -> Iterator[Method]:
    """The method of ``node`` at work in ``skeleton``, which is plain again afterwards."""
    method = build_method(node)
    method.attach(skeleton, heads)
    try:
        yield method
    finally:
        method.detach()
