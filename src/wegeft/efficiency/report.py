"""The file that ``mode=efficiency`` writes and the tables read: one per backbone, batch, precision and kind of device.

Does not: measure, or render.
"""

import json
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator

from wegeft.efficiency.figures import COMPILED, Figures
from wegeft.errors import UserError
from wegeft.files import write_atomically
from wegeft.products import TORCH
from wegeft.schema import Strict, validate


def _timed(figures: Figures) -> Figures:
    if not figures.step_seconds or not figures.evaluation_seconds:
        raise ValueError("a contestant has no timed step")
    return figures


class Report(Strict):
    """One measurement of all contestants.

    Attributes:
        model, scale, weights: of the backbone.
        layers: how many were kept; None means all.
        tokens: positions of the batch.
        dtype, device: of the backbone.
        linear_kernel: who multiplied in its linear layers, see `wegeft.products`.
        load: the machine's load average before the first step; figures of a busy machine deserve no trust.
        model_flops: operations of one step of the floor.
        peak_flops: operations per second of one large matrix product in the same precision; the better of two times.
        floor, baseline: see `wegeft.efficiency.config.EfficiencyConfig`.
        contestants: figures by name.
        command, provenance: as in the record of a run.
    """

    schema_version: Literal[1]
    model: str
    scale: str
    weights: str
    layers: int | None
    tokens: int
    dtype: str
    device: str
    linear_kernel: Literal["torch", "onednn"] = "torch"
    load: float
    model_flops: int
    peak_flops: float
    floor: str
    baseline: str
    contestants: dict[str, Annotated[Figures, AfterValidator(_timed)]]
    command: tuple[str, ...]
    provenance: dict[str, Any]

    @property
    def name(self) -> str:
        """Stem of the file; a later measurement of the same thing replaces it."""
        layers = "all" if self.layers is None else self.layers
        compiled = "_compiled" if any(name.endswith(COMPILED) for name in self.contestants) else ""
        kernel = "" if self.linear_kernel == TORCH else f"_{self.linear_kernel}"
        return f"{self.model}_{layers}_layers_{self.tokens}_tokens_{self.dtype}_{self.device}{kernel}{compiled}"


def write_report(report: Report, folder: Path) -> Path:
    """Write ``report`` into ``folder``; returns the file."""
    path = folder / f"{report.name}.json"
    write_atomically(path, (report.model_dump_json(indent=1) + "\n").encode())
    return path


def read_report(path: Path) -> Report:
    """The report in ``path``.

    Raises:
        UserError: it is no such file, or has another report's name, whose table it would replace; the sentence names
            it.
    """
    try:
        report = validate(Report, json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, UserError) as error:
        raise UserError(f"{path.name}: {error}") from error
    if path.stem != report.name:
        raise UserError(f"{path.name}: these are figures of {report.name}: name the file so, or keep it elsewhere.")
    return report
