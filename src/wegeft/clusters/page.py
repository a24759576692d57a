"""The page of a run's clusters: one HTML file that needs nothing else.

Does not: compute or draw anything.
"""

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from wegeft.clusters.maps import THRESHOLD
from wegeft.clusters.scores import Localisation


@dataclass(frozen=True)
class Shown:
    """An image of the page: its name, what it is, what was predicted, and its contact sheet as PNG."""

    uid: str
    gold: str
    predicted: str
    sheet: bytes


def render(title: str, run_id: str, images: Sequence[Shown], localisation: Localisation | None) -> str:
    """The whole page; every text in it is escaped."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    loader = FileSystemLoader(Path(__file__).parent)
    environment = Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    return environment.get_template("page.html.j2").render(
        title=title,
        run_id=run_id,
        threshold=THRESHOLD,
        images=[{**vars(image), "png": base64.b64encode(image.sheet).decode()} for image in images],
        scores=localisation.layers if localisation else (),
        scored=localisation.images if localisation else 0,
        even=localisation.even if localisation else 0.0,
        percent=percent,
    )


def percent(share: float | None) -> str:
    """A share as a percentage with one digit; a dash for none."""
    return "–" if share is None else f"{100 * share:.1f}"
