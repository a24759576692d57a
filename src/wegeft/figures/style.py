"""One style for every figure, and files that hold no date and no random id."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Okabe and Ito's palette: told apart with any colour vision and in print. Methods take colours by name, so that a
# method has one colour in every figure.
PALETTE = (
    *("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#999999"),
    *("#F0E442", "#882255", "#332288", "#8C510A"),
)
"""The colours of Okabe and Ito, and four more that the colour-blind can tell from them."""
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
_FIXED = ("wegeft", "lora", "dora", "red", "full", "none")
_SETTINGS: dict[Any, Any] = {
    "svg.hashsalt": "wegeft",
    "svg.fonttype": "path",
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.3,
    "legend.frameon": False,
    "figure.dpi": 100,
    "savefig.dpi": 150,
    "savefig.bbox": "tight",
}


def position(method: str, others: Sequence[str]) -> int:
    """Place of ``method`` in the palette: fixed for the suite's first methods, by name for the rest."""
    names = [*_FIXED, *sorted(set(others) - set(_FIXED))]
    return names.index(method)


def colour(method: str, others: Sequence[str]) -> str:
    """The colour of ``method`` where ``others`` are drawn as well."""
    return PALETTE[position(method, others) % len(PALETTE)]


def marker(method: str, others: Sequence[str]) -> str:
    """The marker of ``method`` where ``others`` are drawn as well."""
    return MARKERS[position(method, others) % len(MARKERS)]


@contextmanager
def drawing() -> Iterator[None]:
    """Draw in the suite's style, without a display and whatever the user's own settings are."""
    import matplotlib

    matplotlib.use("Agg")
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        for name, value in _SETTINGS.items():
            matplotlib.rcParams[name] = value
        yield


# What each form must not say, for the same input to give the same bytes: dates and program versions.
_UNSAID: Final[dict[str, dict[str, None]]] = {"svg": {"Date": None, "Creator": None}, "png": {"Software": None}}
FORMS: Final = tuple(_UNSAID)


def save(figure: "Figure", stem: Path, forms: Sequence[str] = FORMS) -> None:
    """Write ``stem``.FORM for each of ``forms``, without dates or program versions, and let go of the figure."""
    import matplotlib.pyplot as plt

    for form in forms:
        figure.savefig(stem.with_suffix(f".{form}"), metadata=_UNSAID[form])
    plt.close(figure)
