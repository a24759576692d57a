"""Plain tables for records that no definition is about, so that each of them is in some table.

Does not: render, or know what a task's numbers mean beyond what the records say.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence

from wegeft.tables.definition import Column, Definition
from wegeft.tables.rows import OurRow


def undeclared(definitions: Iterable[Definition], rows: Iterable[OurRow]) -> list[Definition]:
    """A definition for every task of ``rows`` that none of ``definitions`` is about: a column per set, by name."""
    known = {definition.task for definition in definitions}
    groups: defaultdict[str, list[OurRow]] = defaultdict(list)
    for row in rows:
        if row.key.task not in known:
            groups[row.key.task].append(row)
    return [_plain(task, found) for task, found in sorted(groups.items())]


def _plain(task: str, rows: Sequence[OurRow]) -> Definition:
    scores = [run["evaluation"]["scores"] for row in rows for run in row.scored]
    names = sorted({name for found in scores for name in found})
    metrics = sorted({score["metric"] for found in scores for score in found.values()})
    # "AQuA/strict" is a second extraction rule on AQuA, which no mean covers.
    second = {name for name in names if "/" in name and name.partition("/")[0] in names}
    columns = [Column(subset=name, header=name, counted=name not in second) for name in names]
    return Definition(
        name=task,
        title=task,
        task=task,
        metric=f"{' and '.join(metrics) or 'none, no run has finished'}, times 100",
        columns=tuple(columns) or (Column(subset=task, header=task),),
        mean_ranked=len({frozenset(found) for found in scores}) == 1,
        backbones=(),
        seeds=(),
        sections=(),
    )
