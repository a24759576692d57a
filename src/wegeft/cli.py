"""From the command line to a checked configuration to the mode that carries it out.

Hydra composes; every way a person can mistype ends in one sentence on stderr and exit code 2, before anything is
loaded or written.

Does not: import torch, transformers or any other slow package; modes do, when they start.
"""

import gc
import importlib
import os
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any, NoReturn

import hydra
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import InterpolationKeyError, OmegaConfBaseException

from wegeft.config import RunConfig, parse
from wegeft.errors import UserError
from wegeft.exits import BAD_INPUT, BUSY, DIVERGED, INTERRUPTED
from wegeft.rank import is_first
from wegeft.schema import did_you_mean, nearest
from wegeft.training.interruption import Interrupted, interruptible

ROOT = Path(__file__).resolve().parents[2]
CONFIG_FOLDER = ROOT / "configs"

BASE = "base"
"""Name of the file that the others of a folder of choices start from, itself no choice."""

MODES = {
    "run": "wegeft.experiment:run",
    "evaluate": "wegeft.experiment:evaluate",
    "plan": "wegeft.planning.show:plan",
    "rescore": "wegeft.inspection:rescore",
    "samples": "wegeft.inspection:samples",
    "contamination": "wegeft.inspection:contamination",
    "efficiency": "wegeft.efficiency.mode:efficiency",
    "judge": "wegeft.evaluation.judging.run:judge",
    "clusters": "wegeft.clusters.mode:clusters",
    "tune": "wegeft.tuning.mode:tune",
}
"""Mode → ``module:function`` that takes the :class:`RunConfig`; imported only when chosen."""

SPARING = frozenset({BUSY, DIVERGED})
"""Ends of one run that leave the other runs of its sweep alone."""


class MemberEndedError(Exception):
    """One run of a sweep ended with an exit code of :data:`SPARING`; Hydra raises it again after the last run."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


def main() -> None:
    """Compose, check and run; the function behind ``run.py``."""
    os.environ["HYDRA_FULL_ERROR"] = "1"  # let Hydra's errors reach us, to be said in one sentence
    if sys.argv[1:3] == ["--cfg", "job"] or sys.argv[-2:] == ["--cfg", "job"]:
        sys.argv.append("--resolve")  # what a person wants to see is what the run will get
    try:
        _check_choices(sys.argv[1:])
        if _asks_for_many(sys.argv[1:]):
            _plan_many(sys.argv[1:])
            return
        hydra.main(version_base="1.3", config_path=str(CONFIG_FOLDER), config_name="config")(_job)()
    except BrokenPipeError:  # the reader of a pipe (`| head`) has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except MemberEndedError as ended:
        raise SystemExit(ended.code) from ended
    except (HydraException, OmegaConfBaseException) as error:
        _refuse(explain(error))
    except UserError as error:  # of a launcher; those of a run end in `_carry_out`
        _refuse(str(error), error.exit_code)


def _check_choices(words: Sequence[str]) -> None:
    """UserError where ``words`` choose what the files of a folder share (``task=fgvc/base``), as if it were one."""
    for word in words:
        group, _, names = word.lstrip("+").partition("=")
        for name in names.split(",") if f"/{BASE}" in names else ():
            folder, _, stem = name.rpartition("/")
            choices = [one for one in _choices_in_folders(group) if one.startswith(f"{folder}/")]
            if stem == BASE and choices:
                raise UserError(f"{group}={name} is only what others share; choices: {', '.join(choices)}.")


def _asks_for_many(words: Sequence[str]) -> bool:
    """Whether ``words`` ask for the plan of a sweep or a table, which Hydra would compose one run after the other."""
    return "mode=plan" in words and any(word in ("-m", "--multirun") or word.startswith("table=") for word in words)


@contextmanager
def without_collection() -> Iterator[None]:
    """Python's search for cyclic garbage off: a plan makes many objects, keeps them, and takes an eighth less time."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def _plan_many(words: Sequence[str]) -> None:
    try:
        with without_collection():
            importlib.import_module("wegeft.planning.show").plan_sweep(words)
    except UserError as error:
        _refuse(str(error))


def _job(composed: DictConfig) -> None:
    try:
        with interruptible():
            _carry_out(composed)
    except Interrupted as stopped:
        _say(f"{stopped}; the same command goes on from there.")
        raise SystemExit(INTERRUPTED) from stopped
    except SystemExit as ended:
        if HydraConfig.get().mode == RunMode.MULTIRUN and ended.code in SPARING:
            raise MemberEndedError(int(ended.code)) from ended
        raise


def _carry_out(composed: DictConfig) -> None:
    # Refused here and not in `main`: Hydra would print a line of its own before an exception reaches it.
    try:
        config = to_run_config(composed)
        module, _, function = MODES[config.mode].partition(":")
        getattr(importlib.import_module(module), function)(config)
    except UserError as error:
        _refuse(str(error), error.exit_code)
    except InterpolationKeyError as error:
        _refuse(dead_end(error, composed))
    except OmegaConfBaseException as error:
        _refuse(explain(error))


def to_run_config(composed: DictConfig) -> RunConfig:
    """The composed Hydra config, resolved and checked.

    Raises:
        UserError: a mandatory value is missing, an interpolation leads nowhere, or a value is refused.
    """
    missing = sorted(OmegaConf.missing_keys(composed))
    if missing:
        raise UserError(f"{missing[0]} must be given, e.g. {missing[0]}=VALUE.")
    container = OmegaConf.to_container(composed, resolve=True)
    assert isinstance(container, dict)
    return checked({str(key): value for key, value in container.items()})


def checked(container: dict[str, Any]) -> RunConfig:
    """A resolved configuration, its keys and values checked; `UserError` names what is refused."""
    unknown = [key for key in container if key not in RunConfig.model_fields]
    if unknown:
        raise UserError(_unknown_key(unknown[0]))
    return parse(container)


def explain(error: Exception) -> str:
    """A Hydra or OmegaConf error as one sentence that names the key and the choices."""
    text = str(error)
    unknown_choice = re.search(
        r"Could not find '([^']+)'\s+Available options in '([^']+)':\s*(.*?)(?:\n\S|\Z)", text, re.S
    )
    if unknown_choice:
        path, group, listing = unknown_choice.groups()
        name, choices = path.removeprefix(f"{group}/"), [*listing.split(), *_choices_in_folders(group)]
        return f"{group}={name} is not known{did_you_mean(name, choices)}; choices: {', '.join(choices)}."
    unknown_key = re.search(r"Could not (?:override|delete from config\.) '([^']+)'", text)
    if unknown_key:
        return _unknown_key(unknown_key.group(1))
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return f"The configuration cannot be composed: {' '.join(lines[:2])}"


def _choices_in_folders(group: str) -> list[str]:
    """The choices of ``group`` that Hydra does not list: those of its folders, less what a folder's files share."""
    names = sorted(path.relative_to(CONFIG_FOLDER / group) for path in (CONFIG_FOLDER / group).glob("*/**/*.yaml"))
    return [name.with_suffix("").as_posix() for name in names if name.stem != BASE]


def _unknown_key(key: str) -> str:
    """The sentence for an override of a key that does not exist, with those that do."""
    if (CONFIG_FOLDER / key).is_dir():
        choices = ", ".join(sorted(path.stem for path in (CONFIG_FOLDER / key).glob("*.yaml")))
        return f"{key} is added to a configuration: write +{key}=NAME; choices: {choices}."
    composed, parts = _composed_from_groups(), key.split(".")
    depth = next((depth for depth, part in enumerate(parts) if part not in _keys(composed, parts[:depth])), None)
    if depth is None:
        parent = ".".join(parts[:-1])
        holder: Any = OmegaConf.select(composed, ".".join(parts[:-2])) if parts[:-2] else composed
        taken_from = OmegaConf.to_container(holder, resolve=False)[parts[-2]]  # type: ignore[call-overload,index]
        return f"{key} cannot be set because {parent} is taken from {taken_from}; set it there."
    where, known = ".".join(parts[:depth]) or "the configuration", _keys(composed, parts[:depth])
    hint = _nearest_key(composed, parts, depth)
    hint = f" (did you mean {hint}?)" if hint else ""
    return f"{key} is not a key of {where}{hint}" + (f"; its keys are {', '.join(sorted(known))}." if known else ".")


def _keys(composed: DictConfig, place: Sequence[str]) -> list[str]:
    """The keys of the node at ``place``; none where a value stands."""
    node: Any = OmegaConf.select(composed, ".".join(place)) if place else composed
    return [str(key) for key in node] if isinstance(node, DictConfig) else []


def _nearest_key(composed: DictConfig, parts: Sequence[str], depth: int) -> str:
    """What ``parts`` from ``depth`` on were probably meant to be, as far as that is near; empty where nothing is."""
    meant = list(parts[:depth])
    for part in parts[depth:]:
        known = _keys(composed, meant)
        near = part if part in known else nearest(part, known if meant else [*known, *_groups_without_a_key(known)])
        if near is None:
            break
        meant.append(near)
    return ".".join(meant[depth:])


def _groups_without_a_key(known: Sequence[str]) -> list[str]:
    """How groups are chosen that the configuration has no key of: ``+experiment``, ``hydra/launcher``."""
    added = [f"+{path.name}" for path in CONFIG_FOLDER.iterdir() if path.name not in known and any(path.glob("*.yaml"))]
    return [*added, *(f"hydra/{path.name}" for path in (CONFIG_FOLDER / "hydra").iterdir())]


def dead_end(error: InterpolationKeyError, composed: DictConfig) -> str:
    """The sentence for a value that is taken from a place that does not exist, e.g. of a recipe that is unknown."""
    found = re.search(r"Interpolation key '([^']+)' not found", str(error))
    place = found.group(1) if found else ""
    node: Any = composed
    for part in place.split("."):
        if not isinstance(node, DictConfig) or part not in node:
            known = [str(key) for key in node] if isinstance(node, DictConfig) else []
            hint = f"{part} is none of {', '.join(known)}{did_you_mean(part, known)}"
            return f"{error.full_key} is taken from {place}, which does not exist: {hint}."
        node = OmegaConf.select(node, part)
    return f"{error.full_key} is taken from {place}, which does not exist."


def _composed_from_groups() -> DictConfig:
    """The configuration composed from the command line's group choices alone."""
    groups = {path.name for path in CONFIG_FOLDER.iterdir() if path.is_dir()}
    words = [word for word in sys.argv[1:] if "=" in word and "," not in word]  # `-p method` chooses nothing
    choices = [word for word in words if word.lstrip("+").partition("=")[0] in groups]
    started = GlobalHydra.instance().is_initialized()  # a mode composes further configurations
    with nullcontext() if started else hydra.initialize_config_dir(str(CONFIG_FOLDER), version_base="1.3"):
        return hydra.compose("config", overrides=choices)


def _refuse(sentence: str, code: int = BAD_INPUT) -> NoReturn:
    _say(f"error: {sentence}")
    raise SystemExit(code)


def _say(sentence: str) -> None:
    """Print on stderr, once for all processes of a distributed run."""
    if is_first():
        print(sentence, file=sys.stderr)
