"""Counts and work of every distinct model and method, kept on disk so that the second plan needs no tracing.

The file's name is a hash of what decides its content: the nodes of model and method, the shape, and the code that is
traced, of the libraries their versions. Does not: know hardware or data, or clean up (the folder may be deleted).
"""

import dataclasses
import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from wegeft.config import ModelConfig, RunConfig
from wegeft.files import write_atomically
from wegeft.planning.work import Architecture, Shape, Traced, Work
from wegeft.records.identity import digest
from wegeft.records.provenance import PACKAGE_ROOT, packages
from wegeft.tasks.encoding_cache import cache_folder

Found = TypeVar("Found")
_CODE = (
    "methods/*.py",
    "models/*.py",
    *(f"planning/{name}.py" for name in ("costs", "trace", "work")),
    "records/assemble.py",
    *(f"training/{name}.py" for name in ("masters", "objective")),
)


@dataclass(frozen=True)
class Subject:
    """Whose cost: a checked backbone config and the nodes of method and training."""

    model: ModelConfig
    method: Mapping[str, Any]
    training: Mapping[str, Any]

    @classmethod
    def of_config(cls, config: RunConfig) -> "Subject":
        """Of a run to be."""
        return cls(config.model, config.method, config.training.model_dump(mode="json"))

    @property
    def fp32_masters(self) -> bool:
        """Whether the optimiser works on fp32 copies of shorter parameters."""
        return bool(self.training["fp32_masters"])


class Costs:
    """Looks costs up, and has them counted when they are not known; one backbone is built for all its methods."""

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder or cache_folder() / "costs"
        self._skeletons: dict[str, Any] = {}
        self._known: dict[str, Any] = {}

    def architecture(self, subject: Subject) -> Architecture:
        """Parameter counts; `UserError` where the method does not fit the backbone."""
        found = self._keep("architecture", subject, None, lambda: dataclasses.asdict(self._count(subject)))
        return Architecture(**found)

    def training(self, subject: Subject, shape: Shape) -> Traced | None:
        """The work of one forward and backward at ``shape``; None where nothing is trained or can be traced."""

        def measure() -> dict[str, Any] | None:
            from wegeft.planning.trace import trace

            with self._attached(subject) as method:
                try:
                    traced = trace(subject.model, method, shape, subject.fp32_masters) if method.trainable() else None
                except (RuntimeError, NotImplementedError):
                    traced = None  # torch's words for a computation that looks at values, which the meta device has not
            return None if traced is None else dataclasses.asdict(traced)

        found = self._keep("training", subject, shape, measure)
        if found is None:
            return None
        parts: dict[str, Any] = {
            name: Work(**value) if isinstance(value, dict) else value for name, value in found.items()
        }
        return Traced(**parts)

    def forward(self, subject: Subject, shape: Shape) -> Work | None:
        """The work of one forward pass of the plain backbone, as a merged method evaluates."""

        def measure() -> dict[str, Any] | None:
            from wegeft.planning.trace import trace_forward

            work = trace_forward(subject.model, self._skeleton(subject), shape)
            return None if work is None else dataclasses.asdict(work)

        found = self._keep("forward", subject, shape, measure)
        return None if found is None else Work(**found)

    def _keep(self, kind: str, subject: Subject, shape: Shape | None, measure: Callable[[], Found]) -> Found:
        key = _key(kind, subject, shape)
        if key not in self._known:
            path = self._folder / f"{key}.json"
            try:
                self._known[key] = json.loads(path.read_bytes())
            except (OSError, ValueError):
                self._known[key] = measure()
                write_atomically(path, json.dumps(self._known[key]).encode())
        return self._known[key]  # type: ignore[no-any-return]  # the kind of the key is the kind of the value

    def _count(self, subject: Subject) -> Architecture:
        from wegeft.models import count_parameters
        from wegeft.records.assemble import parameters
        from wegeft.training.masters import Masters

        plain = count_parameters(self._skeleton(subject))
        with self._attached(subject) as method:
            masters = Masters(method.trainable(), subject.fp32_masters)
            held = (method.trainable(), masters.values, masters.copies)
            sizes = (sum(one.nbytes for one in tensors.values()) for tensors in held)
            return Architecture(parameters(method, plain), method.mergeable, *sizes)

    def _skeleton(self, subject: Subject) -> Any:
        import torch

        from wegeft import models

        key = digest(subject.model.model_dump(mode="json"))
        if key not in self._skeletons:
            skeleton = models.skeleton(subject.model).to(getattr(torch, subject.model.dtype))
            self._skeletons[key] = skeleton.requires_grad_(False)
        return self._skeletons[key]

    def _attached(self, subject: Subject) -> Any:
        from wegeft.planning.attached import attached

        return attached(subject.method, subject.model.head_modules, self._skeleton(subject))


def _key(kind: str, subject: Subject, shape: Shape | None) -> str:
    nodes: Mapping[str, Any] = {
        "kind": kind,
        "model": subject.model.model_dump(mode="json"),
        "method": None if kind == "forward" else {**subject.method, "learning_rates": None},
        "fp32_masters": None if kind == "forward" else subject.fp32_masters,
        "shape": None if shape is None else dataclasses.astuple(shape),
        "code": _code_digest(),
    }
    return digest(nodes)


@cache
def _code_digest() -> str:
    files = sorted(path for pattern in _CODE for path in PACKAGE_ROOT.glob(pattern))
    libraries = str({name: found["version"] for name, found in packages().items()})
    return hashlib.sha256(b"\0".join([*(path.read_bytes() for path in files), libraries.encode()])).hexdigest()
