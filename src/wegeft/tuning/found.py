"""The file that a finished search leaves, and runs that take their values from it (``tuned=FILE``, ``tuned=true``).

Does not: search.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import ValidationError

from wegeft.errors import UserError
from wegeft.files import write_atomically
from wegeft.schema import Strict
from wegeft.tuning.config import Searched, Value

Values = dict[str, Value]
"""Dotted key of the configuration and value."""


class Trial(Strict):
    """One setting that was tried.

    Attributes:
        values: the setting.
        score: mean over seeds of the score on the validation rows; None if a run diverged.
        run_ids: its runs, one per seed.
    """

    values: Values
    score: float | None
    run_ids: tuple[str, ...]


class Found(Strict):
    """A finished search.

    Attributes:
        task, scale, protocol, recipe, model, method: names of what was searched for.
        validation: overrides that made its runs score validation rows.
        data: content hash of what was trained on and scored, by ``subset/split``.
        space, budget, seed, seeds: as searched (:class:`wegeft.tuning.config.TuneConfig`).
        before: the values that a run without the search has.
        best: the values with the highest score; of equal ones those tried first.
        score: theirs.
        at_edge: keys whose best value is the first or last of its list.
        trials: all of them, in the order of the search.
        command: what was typed.
        provenance: as of a record.
    """

    schema_version: Literal[1]
    task: str
    scale: str
    protocol: str
    recipe: str
    model: str
    method: str
    validation: tuple[str, ...]
    data: dict[str, str]
    space: tuple[Searched, ...]
    budget: int
    seed: int
    seeds: tuple[int, ...]
    before: Values
    best: Values
    score: float
    at_edge: tuple[str, ...]
    trials: tuple[Trial, ...]
    command: tuple[str, ...]
    provenance: dict[str, Any]


def found_path(container: Mapping[str, Any]) -> Path:
    """Where the search for the task, scale, protocol, model and method of a resolved configuration is kept."""
    task, folder = container["task"], Path(container["tune"]["folder"])
    names = [task["name"], *([task["subset"]] if "subset" in task else [])]
    names += [f"{container['scale']['name']}-{container['protocol']['name']}", container["model"]["name"]]
    return folder.joinpath(*names, f"{container['method']['name']}.json")


def write_found(found: Found, path: Path) -> None:
    """Write the search to ``path`` in one step."""
    write_atomically(path, (json.dumps(found.model_dump(mode="json"), indent=1, ensure_ascii=False) + "\n").encode())


def with_tuned(container: Mapping[str, Any]) -> Mapping[str, Any]:
    """A resolved configuration with the values that its key ``tuned`` names in their places.

    Values may come from the search of another task or model, as the published ones do (found with one backbone, used
    with all); the record names the file. ``tuned`` becomes the fields of :class:`wegeft.tuning.config.Tuned`.

    Raises:
        UserError: no such file, the search of another method, or a value that was set by hand as well.
    """
    wanted = container.get("tuned")
    if not wanted:
        return {**container, "tuned": None}
    if container.get("mode") == "tune":
        raise UserError(
            f"tuned={wanted} takes the values of a search and mode=tune searches them; leave one of them away."
        )
    path = found_path(container) if wanted is True else Path(str(wanted))
    found, sha256 = _read(path, wanted)
    if found.method != container["method"]["name"]:
        raise UserError(f"tuned={path} was searched for method={found.method}, not for {container['method']['name']}.")
    changed = _copy(container)
    for key, value in found.best.items():
        _put(changed, key, value, (found.before[key], value), path)
    return {**changed, "tuned": {"file": path.as_posix(), "sha256": sha256, "values": found.best}}


def look_up(container: Mapping[str, Any], key: str) -> Any:
    """The value of a dotted key; None if there is none."""
    node: Any = container
    for part in key.split("."):
        node = node.get(part) if isinstance(node, Mapping) else None
    return node


def _read(path: Path, wanted: object) -> tuple[Found, str]:
    """The search kept in ``path`` and the SHA-256 of the file."""
    try:
        content = path.read_bytes()
    except OSError as error:
        said = f"tuned={str(wanted).lower()} looks for {path}" if wanted is True else f"tuned={path}"
        raise UserError(f"{said}, which cannot be read; mode=tune writes it.") from error
    try:
        return Found.model_validate_json(content), hashlib.sha256(content).hexdigest()
    except ValidationError as error:
        raise UserError(f"tuned={path} is not the file of a search: {error.errors()[0]['msg']}.") from error


def _put(container: dict[str, Any], key: str, value: Value, expected: tuple[Value, Value], path: Path) -> None:
    """Set a dotted key that still has the value from before the search."""
    present = look_up(container, key)
    if present not in expected:
        raise UserError(
            f"{key}={present} is set beside tuned={path}, whose search went out from {expected[0]}; "
            "leave one of them away."
        )
    *parents, last = key.split(".")
    for part in parents:
        container = container[part]
    container[last] = value


def _copy(node: Mapping[str, Any]) -> dict[str, Any]:
    return {key: _copy(value) if isinstance(value, Mapping) else value for key, value in node.items()}
