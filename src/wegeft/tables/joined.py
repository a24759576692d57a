"""Rows of families whose every subset is a task of its own: the runs of one method on all of them become one.

Does not: average over seeds (a row does), or hide what failed: a seed that failed on one subset failed.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace
from statistics import fmean
from typing import Any

from wegeft.records.identity import digest
from wegeft.records.store import Record
from wegeft.tables.rows import Key, OurRow, recipe_of

# What may differ from subset to subset: the question, its head, and the optimisation, which papers tune for each.
_OF_A_SUBSET = ("seed", "task", "data", "training", "evaluation", "model.classes")


def join(rows: Iterable[OurRow], counted: Sequence[str]) -> list[OurRow]:
    """Rows of equal method, backbone, scale and protocol as one, a run per seed.

    Where one of them has two rows on a subset (two learning rates, say), nothing tells which of them belongs to which
    rows of other subsets: such rows stay apart. A mean there is only where a seed scored all of ``counted``.
    """
    groups: defaultdict[Key, list[OurRow]] = defaultdict(list)
    for row in rows:
        recipe = digest(recipe_of(row.config, _OF_A_SUBSET))
        groups[replace(row.key, recipe=recipe, data="")].append(row)
    joined = []
    for parts in groups.values():
        subsets = [subset for part in parts for subset in _subsets(part)]
        apart = len(set(subsets)) < len(subsets)
        joined += [_joined(some, counted) for some in ([[part] for part in parts] if apart else [parts])]
    return joined


def _joined(parts: Sequence[OurRow], counted: Sequence[str]) -> OurRow:
    by_seed: defaultdict[int, list[Record]] = defaultdict(list)
    for part in parts:
        for run in part.runs:
            by_seed[run["config"]["seed"]].append(run)
    data = parts[0].key.data if len(parts) == 1 else digest(sorted(part.key.data for part in parts))
    runs = tuple(_run(by_seed[seed], counted) for seed in sorted(by_seed))
    return OurRow(replace(parts[0].key, data=data), runs, tuple(parts))


def _subsets(row: OurRow) -> set[str]:
    return {subset for run in row.runs for subset in run["data"]["test_examples"]}


def _run(runs: Sequence[Record], counted: Sequence[str]) -> Record:
    """The runs of one seed as one record, with the scores and the data of all.

    How each was trained, and by which code on which machine, is said by the row's parts alone.
    """
    first = runs[0]
    broken = [run for run in runs if run["status"] != "finished"]
    evaluations = [run["evaluation"] for run in runs if run["evaluation"]]
    return {
        **{name: value for name, value in first.items() if name != "provenance"},
        "training": None,
        "status": broken[0]["status"] if broken else "finished",
        "error": broken[0]["error"] if broken else None,
        "data": _merged(run["data"] for run in runs),
        "evaluation": None if broken or not evaluations else _evaluation(evaluations, counted),
    }


def _merged(parts: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """Mappings put together, numbers added up."""
    whole: dict[str, Any] = {}
    for part in parts:
        for name, value in part.items():
            if isinstance(value, dict):
                whole[name] = {**whole.get(name, {}), **value}
            else:
                whole[name] = whole.get(name, 0) + value
    return whole


def _evaluation(evaluations: Sequence[dict[str, Any]], counted: Sequence[str]) -> dict[str, Any]:
    """Scores and outcomes of all subsets, with the unweighted mean over ``counted``; None where one is missing."""
    named = {name: _merged({"x": one.get(name, {})} for one in evaluations)["x"] for name in ("scores", "outcomes")}
    whole = set(counted) <= set(named["scores"])
    mean = fmean(named["scores"][subset]["value"] for subset in counted) if whole else None
    return {**evaluations[0], **named, "mean": mean, "n": sum(one["n"] for one in evaluations)}
