"""From records to rows: runs that differ in nothing but the seed are one row, with a mean and a deviation.

Does not: know scales apart, choose columns, or render. Scores stay as recorded (fractions).
"""

import math
import statistics
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from wegeft.records.identity import digest, recipe_config
from wegeft.records.store import Problem, Record

_SET = "task.subset"
# Where a run read its data is no part of a row; what it read is, through the content hashes.
NOT_IN_A_ROW = ("seed", "task.source.root")
UNKNOWN = "unknown"


@dataclass(frozen=True)
class Statistic:
    """Mean over seeds and, from two seeds on, the sample deviation (n - 1)."""

    mean: float
    std: float | None
    n: int

    @classmethod
    def of(cls, values: Iterable[float]) -> "Statistic | None":
        """None of no values."""
        numbers = list(values)
        if not numbers:
            return None
        mean = statistics.fmean(numbers)
        # statistics.stdev reckons in fractions and np.std makes an array: both take longer than everything else here.
        squares = math.fsum((number - mean) ** 2 for number in numbers)
        return cls(mean, math.sqrt(squares / (len(numbers) - 1)) if len(numbers) > 1 else None, len(numbers))


@dataclass(frozen=True)
class Key:
    """What tells rows of one table apart, in sorting order; ``recipe``, ``data`` and ``backbone`` are digests.

    ``backbone`` is of its files, :data:`UNKNOWN` in records that are older than their hashes.
    """

    task: str
    scale: str
    protocol: str
    model: str
    method: str
    recipe: str
    data: str
    backbone: str


@dataclass(frozen=True)
class OurRow:
    """The runs of one recipe on one data set, one per seed, sorted by seed; ``parts`` are those it was joined from."""

    key: Key
    runs: tuple[Record, ...]
    parts: tuple["OurRow", ...] = ()

    @cached_property
    def records(self) -> tuple[Record, ...]:
        """Every record behind the row; of a joined one, those of all sets."""
        return tuple(run for part in self.parts or (self,) for run in part.runs)

    @cached_property
    def config(self) -> dict[str, Any]:
        """The resolved config of the first run; the others differ in nothing that a row shows."""
        return self.runs[0]["config"]  # type: ignore[no-any-return]  # the schema says so

    @cached_property
    def settings(self) -> dict[str, Any]:
        """:attr:`config` with dotted keys."""
        return flatten(self.config)

    @cached_property
    def scored(self) -> tuple[Record, ...]:
        """The finished runs."""
        return tuple(run for run in self.runs if run["status"] == "finished" and run["evaluation"])

    @cached_property
    def whole(self) -> tuple[Record, ...]:
        """The finished runs that have a mean; of a joined row, the seeds that have every set."""
        return tuple(run for run in self.scored if run["evaluation"]["mean"] is not None)

    @cached_property
    def broken(self) -> tuple[Record, ...]:
        """The failed and the diverged runs."""
        return tuple(run for run in self.runs if run["status"] != "finished")

    @cached_property
    def seeds(self) -> tuple[int, ...]:
        """Every seed that was tried."""
        return tuple(run["config"]["seed"] for run in self.runs)

    def seeds_of(self, subset: str) -> tuple[int, ...]:
        """The seeds that were tried on ``subset``; of a joined row a run can be a part."""
        parts = (run for run in self.runs if subset in run["data"]["test_examples"])
        return tuple(run["config"]["seed"] for run in parts)

    @cached_property
    def given(self) -> bool:
        """Whether adapters that were trained elsewhere were evaluated, of which no run makes another."""
        return any(run["config"].get("adapter") is not None for run in self.records)

    @cached_property
    def dirty(self) -> int:
        """How many runs were made from uncommitted code, or from code of which no commit is known."""
        return sum(any(state is None or state["dirty"] for state in code_states(run)) for run in self.records)

    def score(self, *subsets: str) -> Statistic | None:
        """Over the seeds that scored all of ``subsets``, of their unweighted mean."""
        found = ([run["evaluation"]["scores"].get(subset) for subset in subsets] for run in self.scored)
        return Statistic.of(statistics.fmean(one["value"] for one in scores) for scores in found if all(scores))

    @cached_property
    def mean(self) -> Statistic | None:
        """Over seeds, of the unweighted mean over subsets; a joined run that lacks some has none."""
        return Statistic.of(run["evaluation"]["mean"] for run in self.whole)

    def chance(self, subsets: Iterable[str]) -> float | None:
        """Unweighted mean over ``subsets`` of what guessing scores; None where one of them does not say."""
        if not self.whole:
            return None
        scores = self.whole[0]["evaluation"]["scores"]
        levels = [scores.get(subset, {}).get("chance") for subset in subsets]
        known = [level for level in levels if level is not None]
        return statistics.fmean(known) if known and len(known) == len(levels) else None

    @cached_property
    def limited(self) -> bool:
        """Whether any run was scored on a part of the rows that it was to report (``evaluation.limit``)."""
        return any(
            score["n"] < _reported(run, subset)
            for run in self.records
            for subset, score in (run["evaluation"] or {}).get("scores", {}).items()
        )

    @cached_property
    def rankable(self) -> bool:
        """Whether the row can be best. A mean over the survivors flatters a method that sometimes fails."""
        return not self.broken and not self.limited

    @cached_property
    def partial(self) -> bool:
        """Whether any run was trained or scored on fewer rows than the sets, ours or the published, hold."""
        return any(_is_partial(run) for run in self.records)

    @cached_property
    def held_out(self) -> bool:
        """Whether it was scored on rows that choose hyper-parameters, which bear another name: ``birds/val``."""
        return any(_is_held_out(run) for run in self.records)


def code_states(run: Record) -> list[dict[str, Any] | None]:
    """State of the code of every process that had a part in ``run``: of its training, and of a later evaluation."""
    parts = (run["training"] or {}).get("parts", ())
    evaluation = run["evaluation"] or {}
    made_by = [run["provenance"], *(part["provenance"] for part in parts), evaluation.get("provenance")]
    return [provenance["git"] for provenance in made_by if provenance is not None]


def make_rows(records: Iterable[Record]) -> list[OurRow]:
    """Rows sorted by key; within a row one run per seed, see :func:`rows_and_repeats`."""
    return rows_and_repeats(records)[0]


def rows_and_repeats(records: Iterable[Record]) -> tuple[list[OurRow], list[Problem]]:
    """Rows as of :func:`make_rows`, and the records that are in none because another of their row has their seed.

    They differ in keys that no row depends on (two adapter files, say). The one with the smallest run id stands for
    them all, as nothing tells which is meant.
    """
    groups: defaultdict[Key, dict[int, Record]] = defaultdict(dict)
    repeats = []
    for record in sorted(records, key=lambda record: record["run_id"]):
        seed, identity = record["config"]["seed"], record["run_id"]
        shown = groups[key_of(record)].setdefault(seed, record)["run_id"]
        if shown != identity:
            message = f"run {shown} has the same recipe, data and seed ({seed}), and the tables show that one."
            repeats.append(Problem(f"{identity}.json", message))
    rows = [
        OurRow(key, tuple(runs[seed] for seed in sorted(runs)))
        for key, runs in sorted(groups.items(), key=lambda item: _sort_key(item[0]))
    ]
    return rows, repeats


def key_of(record: Record) -> Key:
    """The row that ``record`` belongs to."""
    config = record["config"]
    return Key(
        task=config["task"]["name"],
        scale=config["scale"]["name"],
        protocol=config["protocol"]["name"],
        model=config["model"]["name"],
        method=config["method"]["name"],
        recipe=digest(recipe_of(config, NOT_IN_A_ROW)),
        data=digest(record["data"]["hashes"]),
        backbone=digest(record["backbone"]) if "backbone" in record else UNKNOWN,
    )


def recipe_of(config: Mapping[str, Any], without: tuple[str, ...]) -> dict[str, Any]:
    """What runs of one row share: `recipe_config` less the keys ``without``, and of the adapter whether it was given.

    An adapter that was trained elsewhere is another row than those that the run of the same settings trains, whatever
    its file is called; the files of several seeds are one row.
    """
    recipe = recipe_config(config, also_without=(*without, "adapter"))
    return recipe if config.get("adapter") is None else {**recipe, "adapter": "given"}


def differing_settings(rows: Iterable[OurRow]) -> dict[Key, str]:
    """For rows of one method and model: the settings in which they differ, as ``key=value`` words.

    Rows that differ in their data or in the backbone's files are told apart by digests of these, rows of different
    sets, each a question of its own, by the set alone.
    """
    flat = {row.key: flatten(recipe_of(row.config, NOT_IN_A_ROW)) for row in rows}
    keys = sorted({key for settings in flat.values() for key in settings})
    absent = object()
    telling = [key for key in keys if len({repr(settings.get(key, absent)) for settings in flat.values()}) > 1]
    if len({settings.get(_SET) for settings in flat.values()}) == len(flat):
        return {row_key: str(settings.get(_SET)) for row_key, settings in flat.items()}
    labels = {}
    for row_key, settings in flat.items():
        words = [f"{key}={settings[key]}" for key in telling if key in settings]
        if len({key.data for key in flat}) > 1:
            words.append(f"data={row_key.data[:6]}")
        if len({key.backbone for key in flat}) > 1:
            words.append(f"weights={row_key.backbone[:6]}" if row_key.backbone != UNKNOWN else "weights=unknown")
        labels[row_key] = " ".join(words)
    return labels


def flatten(node: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested mappings as one with dotted keys."""
    flat: dict[str, Any] = {}
    for key, value in node.items():
        path = f"{prefix}{key}"
        flat |= flatten(value, f"{path}.") if isinstance(value, Mapping) and value else {path: value}
    return flat


def _is_partial(run: Record) -> bool:
    expected = run["data"]["expected_rows"]
    training = [rows for part, rows in expected.items() if part.endswith("/train") and rows is not None]
    scores = (run["evaluation"] or {}).get("scores", {})
    present = run["data"]["test_examples"]
    fewer = (
        score["n"] < _reported(run, subset) or present.get(subset, score["n"]) < (expected.get(f"{subset}/test") or 0)
        for subset, score in scores.items()
    )
    wanted = (run["config"]["task"].get("accept") or {}).get("rows")  # the recipe takes no more
    return run["data"]["train_examples"] < min(sum(training), wanted or math.inf) or any(fewer)


def _reported(run: Record, subset: str) -> int:
    """Rows of ``subset`` that the run was to report: all that it had, unless its protocol chooses on some of them."""
    rows: int = run["data"]["remarks"].get("reported_rows", run["data"]["test_examples"]).get(subset, 0)
    return rows


def _is_held_out(run: Record) -> bool:
    data = run["data"]  # of a run without scores, what would have been scored
    names = (run["evaluation"] or {}).get("scores") or data["remarks"].get("reported_rows") or data["test_examples"]
    return all("/" in name for name in names)


def _sort_key(key: Key) -> tuple[str, ...]:
    return (key.task, key.scale, key.protocol, key.model, key.method, key.recipe, key.data, key.backbone)
