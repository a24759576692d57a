"""The command that makes a missing run.

What only the machine can say, where data and weights lie, stands in it as :data:`DATA` and :data:`WEIGHTS`, unless
the run that it repeats said it.

Does not: run anything, or check that the configuration composes.
"""

import re
import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from typing import Any

import yaml

from wegeft.records.identity import SIDE_KEYS
from wegeft.tables.definition import TASK_CONFIGS
from wegeft.tables.rows import OurRow

DATA = "data.root=data"
"""Where scripts/fetch_data.py puts files, and the documentation expects them."""
WEIGHTS = "model.source=FOLDER"
EXPLAINED = {
    DATA: "data is the folder of the task's files (docs/tasks.md, docs/vision.md), where scripts/fetch_data.py puts "
    "those that it can fetch",
    WEIGHTS: "FOLDER stands for that of the checkpoint",
}
_NAMED = ("method", "task", "scale", "model", "protocol", "seed")
_BRACKETS = re.compile(r"\[[^\]]*\]|\{[^}]*\}|'[^']*'|\"[^\"]*\"")


def command(
    method: str, task: str, scale: str, model: str, protocol: str, seeds: Sequence[int], more: Iterable[str] = ()
) -> str:
    """One line for a shell: one run, or a sweep over ``seeds``."""
    more = tuple(more)
    named = {word.partition("=")[0].lstrip("+") for word in more}
    words = [
        f"method={method}",
        f"task={task}",
        f"scale={scale}",
        f"model={model}",
        f"protocol={protocol}",
        *(place for place in _places(task, scale, model) if place.partition("=")[0] not in named),
        *more,
    ]
    return sweep_command(words, seeds)


def explanations(commands: Iterable[str]) -> tuple[str, ...]:
    """What a reader has to know of the places that ``commands`` name, as one sentence for a note; nothing of none."""
    words = {word for command in commands for word in shlex.split(command)}
    said = [meaning for word, meaning in EXPLAINED.items() if word in words]
    return (f"In the commands, {'; '.join(said)}.",) if said else ()


def _places(task: str, scale: str, model: str) -> Iterator[str]:
    """The words that say where files lie, of which the configuration has no default."""
    if any(_reads_files(choice, scale) for choice in task.split(",")):
        yield DATA
    if _config("model", model).get("source") == "???":
        yield WEIGHTS


@cache
def _reads_files(task: str, scale: str) -> bool:
    """Whether ``task`` tells its data source at ``scale`` where data lies, in its own file or in one it starts from."""
    node = _config("task", task)
    source = node.get("sources", {}).get(scale) or node.get("source")
    starts = [one.partition("@")[0] for one in node.get("defaults", ()) if isinstance(one, str) and "@_here_" in one]
    return "${data.root}" in str(source) or any(_reads_files(one.removeprefix("/task/"), scale) for one in starts)


@cache
def _config(group: str, name: str) -> Mapping[str, Any]:
    """The file of a choice; empty where there is none, as a record may be of a choice that is gone."""
    path = TASK_CONFIGS.parent / group / f"{name}.yaml"
    return yaml.safe_load(path.read_text(encoding="utf-8")) if path.is_file() else {}


def sweep_command(words: Iterable[str], seeds: Sequence[int]) -> str:
    """The line for a shell that makes the run of ``words`` with each of ``seeds``, whatever seed ``words`` name.

    ``words`` may be a sweep themselves (``task=glue/cola,glue/rte``).
    """
    kept = [word for word in words if not word.startswith("seed=")]
    sweep = ["-m"] if len(seeds) > 1 or any("," in _BRACKETS.sub("", word) for word in kept) else []
    return shlex.join(["python", "run.py", *sweep, *kept, f"seed={','.join(str(seed) for seed in seeds)}"])


def command_for_more_seeds(row: OurRow, seeds: Sequence[int]) -> str:
    """The command that adds ``seeds`` to ``row``: its own overrides, as its first record kept them.

    Not for a row of given adapters: each seed of it has a file of its own.
    """
    key = row.key
    kept = [said for word in row.runs[0]["command"] if (said := _said(word, row.settings))]
    return command(key.method, key.task, key.scale, key.model, key.protocol, seeds, kept)


def _is_local(name: str) -> bool:
    """Whether a key says nothing of the run. Where the data lies is local too, but a run needs to be told."""
    local = (key for key in SIDE_KEYS if key != "data.root")
    return any(name == key or name.startswith(f"{key}.") for key in local)


def _said(word: str, settings: Mapping[str, Any]) -> str:
    """What a word of a recorded command says about the run, empty if nothing or if :data:`_NAMED` keys say it."""
    name, equals, value = word.partition("=")
    if not equals or name.startswith(("-", "hydra")) or name.lstrip("+~") in _NAMED or _is_local(name):
        return ""
    if "," not in _BRACKETS.sub("", value):
        return word
    # A sweep, of which this record is one job: the resolved config tells which. A swept group has a name there.
    chosen = settings.get(name, settings.get(f"{name}.name", settings.get(f"{name}.recipe")))
    return "" if chosen is None else f"{name}={chosen}"
