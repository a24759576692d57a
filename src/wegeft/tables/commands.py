"""The command that makes a missing run.

Does not: run anything, or check that the configuration composes.
"""

import re
import shlex
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from wegeft.records.identity import IGNORED_KEYS
from wegeft.tables.rows import OurRow

_NAMED = ("method", "task", "scale", "model", "protocol", "seed")
_BRACKETS = re.compile(r"\[[^\]]*\]|\{[^}]*\}|'[^']*'|\"[^\"]*\"")


def command(
    method: str, task: str, scale: str, model: str, protocol: str, seeds: Sequence[int], more: Iterable[str] = ()
) -> str:
    """One line for a shell: one run, or a sweep over ``seeds``."""
    words = [
        f"method={method}",
        f"task={task}",
        f"scale={scale}",
        f"model={model}",
        f"protocol={protocol}",
        *more,
    ]
    return sweep_command(words, seeds)


def sweep_command(words: Iterable[str], seeds: Sequence[int]) -> str:
    """The line for a shell that makes the run of ``words`` with each of ``seeds``, whatever seed ``words`` name.

    ``words`` may be a sweep themselves (``task=glue/cola,glue/rte``).
    """
    kept = [word for word in words if not word.startswith("seed=")]
    sweep = ["-m"] if len(seeds) > 1 or any("," in _BRACKETS.sub("", word) for word in kept) else []
    return shlex.join(["python", "run.py", *sweep, *kept, f"seed={','.join(str(seed) for seed in seeds)}"])


def command_for_more_seeds(row: OurRow, seeds: Sequence[int]) -> str:
    """The command that adds ``seeds`` to ``row``: its own overrides, as its first record kept them."""
    key = row.key
    kept = [said for word in row.runs[0]["command"] if (said := _said(word, row.settings))]
    return command(key.method, key.task, key.scale, key.model, key.protocol, seeds, kept)


def _is_local(name: str) -> bool:
    """Whether a key says how one machine ran it. Where the data lies is local too, but a run needs to be told."""
    local = (key for key in IGNORED_KEYS if key != "data.root")
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
