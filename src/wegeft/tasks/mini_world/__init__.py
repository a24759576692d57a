"""The mini world as a source of task rows: commonsense and arithmetic, generated, offline.

Rows only: prompts, masks and scoring are the tasks' business. The pretraining corpus is `corpus`. Importing
this does not import torch.
"""

import hashlib
import json
from typing import Literal

from wegeft.tasks.mini_world import arithmetic, commonsense
from wegeft.tasks.mini_world.commonsense import Row, Split
from wegeft.tasks.mini_world.world import build_world

Family = Literal["commonsense", "arithmetic"]
_FAMILIES = {"commonsense": commonsense, "arithmetic": arithmetic}


class MiniWorldSource:
    """Rows of one task family.

    Args:
        family: "commonsense" (eight subsets, 500 training and 100 test rows each) or "arithmetic" (four subsets,
            600 and 100).
        seed: the seed of the world. The shipped `mini_llama` knows the facts of seed 0 and of no other.
    """

    def __init__(self, family: Family, seed: int = 0) -> None:
        if family not in _FAMILIES:
            raise ValueError(f"unknown mini world family {family!r}; choose from {', '.join(_FAMILIES)}")
        self.family: Family = family
        self.subsets: tuple[str, ...] = _FAMILIES[family].SUBSETS
        world, render = build_world(seed), _FAMILIES[family].rows
        splits: tuple[Split, ...] = ("train", "test")
        self._rows = {(subset, split): render(world, subset, split) for subset in self.subsets for split in splits}

    def rows(self, subset: str, split: Split) -> list[Row]:
        """The rows of one subset and split, in the LLM-Adapters schema.

        KeyError for a name that is not in `subsets`.
        """
        return [dict(row) for row in self._rows[subset, split]]

    def content_hash(self) -> str:
        """SHA-256 (hex) over all rows of all subsets, in order, as JSON with sorted keys."""
        content = [[subset, split, rows] for (subset, split), rows in self._rows.items()]
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


__all__ = ["Family", "MiniWorldSource", "Row", "Split"]
