"""The ways of adapting a frozen backbone, one file each, and the function that builds one from its config node.

A method is one Python file here and one YAML file in ``configs/method``; nothing else names it. This module imports
no torch, so that reading it costs nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from wegeft.errors import UserError
from wegeft.schema import TARGET_KEY, load_target

if TYPE_CHECKING:
    from wegeft.methods.base import Method

__all__ = ["build_method"]


def build_method(node: Mapping[str, Any]) -> Method:
    """The method that the ``method`` node of a configuration describes, not yet attached to a backbone.

    Args:
        node: the resolved node; ``_target_`` is the import path of a `Method`, the rest is checked by its ``Config``.

    Raises:
        UserError: an unknown class, or a value that its ``Config`` refuses.
    """
    cls, config = load_target(node, "method")
    from wegeft.methods.base import Method

    if not issubclass(cls, Method):
        raise UserError(f"method.{TARGET_KEY}={node[TARGET_KEY]} is not a subclass of wegeft.methods.base.Method.")
    method: Method = cls(config)
    return method
