"""Plain tables for records that no definition is about, so that each of them is in some table.

Does not: render, or know what a task's numbers mean beyond what the records say.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence

from wegeft.tables.definition import Column, Definition
from wegeft.tables.rows import OurRow


def undeclared(definitions: Iterable[Definition], rows: Iterable[OurRow]) -> list[Definition]:
    """A definition for every task of ``rows`` that none of ``definitions`` is about: a column per set, by name.

    Runs that were scored on validation rows are a task of their own here: they choose, and are no results.
    """
    known = {(definition.task, definition.held_out) for definition in definitions}
    groups: defaultdict[tuple[str, bool], list[OurRow]] = defaultdict(list)
    for row in rows:
        if (row.key.task, row.held_out) not in known:
            groups[row.key.task, row.held_out].append(row)
    return [_plain(task, held_out, found) for (task, held_out), found in sorted(groups.items())]


def _plain(task: str, held_out: bool, rows: Sequence[OurRow]) -> Definition:
    scores = [run["evaluation"]["scores"] for row in rows for run in row.scored]
    names = sorted({name for found in scores for name in found})
    metrics = sorted({score["metric"] for found in scores for score in found.values()})
    # "AQuA/strict" is a second extraction rule on AQuA, which no mean covers.
    second = {name for name in names if "/" in name and name.partition("/")[0] in names}
    columns = [Column(subset=name, header=name, counted=name not in second) for name in names]
    return Definition(
        name=f"{task}_validation" if held_out else task,
        title=f"{task}, on validation rows: no results" if held_out else task,
        task=task,
        held_out=held_out,
        metric=f"{' and '.join(metrics) or 'none, no run has finished'}, times 100",
        columns=tuple(columns) or (Column(subset=task, header=task),),
        mean_ranked=len({frozenset(found) for found in scores}) == 1,
        backbones=(),
        seeds=(),
        sections=(),
    )
