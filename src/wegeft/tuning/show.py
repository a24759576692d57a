"""What a search says on the terminal.

Does not: search, or write files.
"""

from pathlib import Path

from rich.console import Console
from rich.table import Table

from wegeft.tuning.found import Found, Trial


def print_found(found: Found, path: Path) -> None:
    """All trials, the best first, and how a run takes the values."""
    out = Console()
    out.print(f"[bold]{found.method} · {found.task} · {found.model}[/bold]  chosen on {', '.join(found.validation)}")
    table = Table(*(one.key for one in found.space), "validation %", "runs")
    ranked = sorted(found.trials, key=lambda trial: -2.0 if trial.score is None else trial.score, reverse=True)
    for trial in ranked:
        table.add_row(*map(str, trial.values.values()), percent(trial), " ".join(trial.run_ids))
    out.print(table)
    for key in found.at_edge:
        out.print(
            f"{key}={found.best[key]} lies at the edge of what was tried; a wider tune.space may have better ones."
        )
    out.print(f"{path}; runs take these values by tuned=true, those on another task or backbone by tuned={path}")


def said(trial: Trial) -> str:
    """One trial in one line."""
    return f"{' '.join(f'{key}={value}' for key, value in trial.values.items())}: {percent(trial)} %"


def percent(trial: Trial) -> str:
    """The score as it is printed."""
    return "diverged" if trial.score is None else f"{100 * trial.score:.2f}"
