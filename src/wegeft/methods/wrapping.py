"""Methods that stand in the places of some modules of the backbone, and can leave them.

Does not: know what a wrapper does to its module, or merge.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import nn

from wegeft.methods.base import Method


class Wrapper(nn.Module):
    """Stands in the place of the module ``base``. What it trains lives in the method, once, and not here."""

    def __init__(self, base: nn.Module) -> None:
        super().__init__()
        self.base = base


class WrappingMethod(Method):
    """A method whose `insert` fills ``_wrappers``, ``{name of the module: its wrapper}``."""

    _wrappers: Mapping[str, Wrapper]

    def enable(self) -> None:
        """Put the wrappers in the places of the plain modules."""
        super().enable()
        for name, wrapper in self._wrappers.items():
            self.backbone.set_submodule(name, wrapper)

    def disable(self) -> None:
        """Put the plain modules back, unmerged; what was trained stays with the method."""
        self.unmerge()
        self._leave()

    def detach(self) -> None:
        """Put the plain modules back, merged if they are, and forget the backbone."""
        if self.is_enabled:
            self._leave()
        super().detach()

    def _leave(self) -> None:
        super().disable()
        for name, wrapper in self._wrappers.items():
            self.backbone.set_submodule(name, wrapper.base)
