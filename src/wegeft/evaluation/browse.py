"""Right and wrong answers of a run, to be read in the terminal.

Does not: score anything again, or change the samples.
"""

import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from rich.console import Console
from rich.panel import Panel
from rich.text import Text

from wegeft.errors import UserError
from wegeft.evaluation.config import Which
from wegeft.evaluation.rescore import task_of_run
from wegeft.evaluation.samples import SAMPLES, Sample, read_samples

PAGE = 5
"""Answers shown before a person is asked whether to go on."""


def browse(
    folder: Path,
    which: Which,
    subset: str | None,
    limit: int | None,
    console: Console,
    go_on: Callable[[], bool] | None = None,
) -> int:
    """Show answers of the run in ``folder``, page by page on a terminal; returns how many were shown.

    Args:
        folder: the run's own folder.
        which: which answers.
        subset: only those of one test set; None is all.
        limit: most answers shown; None is all.
        console: where to.
        go_on: asked after every page; by default the Enter key on a terminal, always yes elsewhere.

    Raises:
        UserError: no samples there, or none of that subset.
    """
    samples = read_samples(folder / SAMPLES)
    subsets = list(dict.fromkeys(sample.subset for sample in samples))
    if subset is not None and subset not in subsets:
        raise UserError(f"the run has no answers on {subset}; it has {', '.join(subsets)}.")
    chosen = [sample for sample in select(samples, which) if subset in (None, sample.subset)][:limit]
    prompts = _prompts(folder)
    for number, sample in enumerate(chosen, start=1):
        console.print(_panel(sample, prompts.get(sample.uid)))
        if number % PAGE == 0 and number < len(chosen) and not (go_on or _enter)():
            return number
    console.print(f"{len(chosen)} of {len(samples)} answers.")
    return len(chosen)


def select(samples: Iterable[Sample], which: Which) -> list[Sample]:
    """The samples that ``which`` names, in order."""
    keep: dict[Which, Callable[[Sample], bool]] = {
        "all": lambda _: True,
        "right": lambda sample: sample.score == 1.0,
        "wrong": lambda sample: sample.score not in (1.0, None),
        "unreadable": lambda sample: sample.extracted is None,
    }
    return [sample for sample in samples if keep[which](sample)]


def _prompts(folder: Path) -> Mapping[str, str]:
    """Rendered questions by uid, or nothing where the data is no longer there."""
    try:
        sets = task_of_run(folder).test_examples()
    except UserError:
        return {}
    return {example.uid: example.prompt for examples in sets.values() for example in examples}


def _panel(sample: Sample, prompt: str | None) -> Panel:
    colour = "yellow" if sample.score is None else "green" if sample.score == 1.0 else "red"
    body = Text()
    if prompt is not None:
        body.append(prompt.rstrip() + "\n", style="dim")
    body.append(sample.text + "\n")
    body.append(f"read {sample.extracted!r}, gold {sample.gold!r}", style=colour)
    return Panel(body, title=sample.uid, border_style=colour)


def _enter() -> bool:
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        return True
    return input("Enter for more, q to end: ").strip().lower() != "q"
