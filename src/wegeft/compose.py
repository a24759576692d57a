"""Many configurations at once: as Hydra composes them, in milliseconds each instead of a fifth of a second.

Hydra composes once for each set of choices that may touch the whole configuration (a scale, an experiment). A choice
that fills one node and nothing else (a method, a model) is read from its file and put in its place; a plain value that
nothing refers to is set in the resolved configuration. Whatever does not fit goes through Hydra.

Works where Hydra has been started, by ``run.py``, as well as where it has not.

Does not: know any group by its name.
"""

import copy
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import cache
from typing import Any

import hydra
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, QuotedString
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import ConfigAttributeError, ConfigKeyError, InterpolationKeyError, OmegaConfBaseException

from wegeft.cli import CONFIG_FOLDER, checked, dead_end, explain
from wegeft.config import RunConfig
from wegeft.errors import UserError

Container = dict[str, Any]
_REFERENCE = re.compile(r"\$\{([^${}]*)")


def split(words: Sequence[str]) -> list[tuple[str, ...]]:
    """The overrides of every run of the sweep that ``words`` describe, in Hydra's order.

    Sweeps that an experiment brings along (``hydra.sweeper.params``) come first, so that ``words`` win over them.

    Raises:
        HydraException: a word that Hydra cannot read, or a choice that does not exist.
    """
    from hydra._internal.core_plugins.basic_sweeper import BasicSweeper

    parsed = parse_words(words)
    named = tuple(one.input_line or "" for one in parsed if is_group(one) and not one.is_sweep_override())
    given = {one.key_or_group for one in parsed}
    brought = [f"{key}={value}" for key, value in _by_hydra(named).sweep.items() if key not in given]
    (batch,) = BasicSweeper.split_arguments([*parse_words(brought), *parsed], max_batch_size=None)
    return [tuple(one) for one in batch]


def parse_words(words: Sequence[str]) -> list[Override]:
    """Hydra's own reading of command-line words."""
    return [_parsed(word) for word in words]


@cache
def _parsed(word: str) -> Override:
    (override,) = OverridesParser.create().parse_overrides(overrides=[word])
    return override


def is_group(override: Override) -> bool:
    """Whether ``override`` chooses a member of a config group."""
    return (CONFIG_FOLDER / override.key_or_group).is_dir()


class Composer:
    """Composes, and keeps what several runs share."""

    def __init__(self) -> None:
        self._bases: dict[tuple[str, ...], _Base] = {}
        self._resolved: dict[tuple[str, ...], tuple[Container, frozenset[str]]] = {}

    def checked(self, words: Sequence[str]) -> RunConfig:
        """The configuration of ``python run.py WORDS``.

        Raises:
            UserError: a choice, a key or a value that is refused.
        """
        try:
            return checked(self.compose(words))
        except (HydraException, OmegaConfBaseException) as error:
            raise UserError(explain(error)) from error

    def compose(self, words: Sequence[str]) -> Container:
        """The resolved configuration of ``python run.py WORDS`` as plain data, its values not checked.

        Raises:
            HydraException, OmegaConfBaseException: a choice or a key that does not exist.
            UserError: a value that must be given is not, or one is taken from a place that does not exist.
        """
        overrides = parse_words(words)
        plain = [one for one in overrides if _is_plain(one)]
        shared = tuple(one.input_line or "" for one in overrides if one not in plain)
        while True:
            container, referenced = self._shared(shared)
            fitting = [one for one in plain if _can_be_set(container, referenced, one.key_or_group)]
            if len(fitting) == len(plain):
                break
            shared += tuple(one.input_line or "" for one in plain if one not in fitting)
            plain = fitting
        changed = _copy_mappings(container)
        for one in plain:
            _set(changed, one.key_or_group, one.value())
        for key in _missing(changed):
            raise UserError(f"{key} must be given, e.g. {key}=VALUE.")
        return changed

    def _shared(self, words: tuple[str, ...]) -> tuple[Container, frozenset[str]]:
        """The resolved configuration of ``words`` and the keys that some other key's value is taken from."""
        if words not in self._resolved:
            overrides = parse_words(words)
            composed = self._with_choices(overrides)
            if composed is None:
                with _hydra():
                    composed = hydra.compose("config", overrides=list(words))
            raw = OmegaConf.to_container(composed, resolve=False)
            try:
                resolved = OmegaConf.to_container(composed, resolve=True)
            except InterpolationKeyError as error:
                raise UserError(dead_end(error, composed)) from error
            assert isinstance(resolved, dict)
            self._resolved[words] = ({str(key): value for key, value in resolved.items()}, frozenset(_references(raw)))
        return self._resolved[words]

    def _with_choices(self, overrides: Sequence[Override]) -> DictConfig | None:
        """A base with its local choices exchanged and its values set; None where only Hydra knows what to do.

        A local choice whose node something else touches (a scale, a value with a structure) is made by Hydra.
        """
        structural = [one for one in overrides if _is_structural(one) and not _is_local(one)]
        inside = {one.key_or_group.partition(".")[0] for one in structural}
        local = [one for one in overrides if _is_local(one) and one.key_or_group not in inside]
        structural += [one for one in overrides if _is_local(one) and one.key_or_group in inside]
        while True:
            base = self._base(tuple(one.input_line or "" for one in overrides if one in structural))
            touched = [one for one in local if not base.is_untouched(one.key_or_group)]
            if not touched:
                break
            structural += touched
            local = [one for one in local if one not in touched]
        choices = {one.key_or_group: str(one.value()) for one in local}
        values = [one for one in overrides if one not in structural and one not in local]
        return base.with_choices(choices, values)

    def _base(self, words: tuple[str, ...]) -> "_Base":
        if words not in self._bases:
            found = _by_hydra(words)
            self._bases[words] = _Base(found.config, found.choices)
        return self._bases[words]


class _Base:
    """A configuration as Hydra composed it, whose local choices can be exchanged."""

    def __init__(self, composed: DictConfig, choices: Mapping[str, str]) -> None:
        self._composed = composed
        self._choices = choices
        self._untouched: dict[str, bool] = {}

    def with_choices(self, choices: Mapping[str, str], values: Sequence[Override]) -> DictConfig | None:
        """A copy with other ``choices`` of untouched groups, and ``values``; None where a key does not exist."""
        changed = copy.deepcopy(self._composed)
        for group, name in choices.items():
            chosen = _member(group, name)
            assert chosen is not None
            OmegaConf.set_struct(changed, False)
            changed[group] = copy.deepcopy(chosen)
        OmegaConf.set_struct(changed, True)
        try:
            for one in values:
                OmegaConf.update(changed, one.key_or_group, one.value())
        except (ConfigAttributeError, ConfigKeyError):
            return None
        return changed

    def is_untouched(self, group: str) -> bool:
        """Whether the node of ``group`` holds what the file of its choice put there, and nothing else."""
        if group not in self._untouched:
            own = _member(group, self._choices[group]) if group in self._choices else None
            node = self._composed.get(group)
            same = own is not None and OmegaConf.to_container(node) == OmegaConf.to_container(own)
            self._untouched[group] = same
        return self._untouched[group]


@dataclass(frozen=True)
class _Composed:
    """What Hydra makes of some words: the configuration, the choice of every group, and sweeps that come along."""

    config: DictConfig
    choices: Mapping[str, str]
    sweep: Mapping[str, str]


@cache
def _by_hydra(words: tuple[str, ...]) -> _Composed:
    """What Hydra makes of ``words``; not to be changed."""
    with _hydra():
        composed = hydra.compose("config", overrides=list(words), return_hydra_config=True)
    choices = dict(composed.hydra.runtime.choices)
    sweep = {str(key): str(value) for key, value in (composed.hydra.sweeper.get("params") or {}).items()}
    with open_dict(composed):
        del composed["hydra"]
    return _Composed(composed, choices, sweep)


@cache
def _member(group: str, name: str) -> DictConfig | None:
    """What the file of a choice puts into its group's node; None if it does, or may do, anything else."""
    path = CONFIG_FOLDER / group / f"{name}.yaml"
    if "/" in group or not path.is_file() or path.read_text(encoding="utf-8").startswith("# @package"):
        return None
    content = OmegaConf.load(path)
    assert isinstance(content, DictConfig)
    defaults = content.pop("defaults", ["_self_"])
    whole = OmegaConf.create({})
    for entry in [*defaults, *([] if "_self_" in defaults else ["_self_"])]:
        part = content if entry == "_self_" else _member(group, entry) if isinstance(entry, str) else None
        if part is None:
            return None
        whole.merge_with(part)
    return whole


def _is_local(override: Override) -> bool:
    """Whether ``override`` chooses a member whose file fills its own node and nothing else."""
    plain = not override.is_add() and not override.is_delete() and isinstance(override.value(), str)
    return is_group(override) and plain and _member(override.key_or_group, str(override.value())) is not None


def _is_structural(override: Override) -> bool:
    """Whether only Hydra should carry ``override`` out: choices, additions, deletions, and values with a structure."""
    return is_group(override) or override.is_add() or override.is_delete() or not _is_simple(override)


def _is_plain(override: Override) -> bool:
    return not _is_structural(override)


def _is_simple(override: Override) -> bool:
    """Whether the value is a number, a word or a list of such, which replaces what was there."""
    if override.is_sweep_override():
        return False
    value = override.value()
    return all(_is_scalar(one) for one in value) if isinstance(value, list) else _is_scalar(value)


def _is_scalar(value: Any) -> bool:
    if isinstance(value, QuotedString):
        return False
    return value is None or isinstance(value, bool | int | float) or (isinstance(value, str) and "${" not in value)


def _references(node: Any, place: str = "") -> Iterator[str]:
    """Dotted keys that the values below ``node`` refer to; a reference that is put together counts up to there."""
    if isinstance(node, dict):
        for key, value in node.items():
            yield from _references(value, f"{place}{key}.")
    elif isinstance(node, list):
        for value in node:
            yield from _references(value, place)
    elif isinstance(node, str) and "${" in node:
        # A resolver's arguments may be keys as well: ${oc.select:task.classes,null}.
        for found in (part for inside in _REFERENCE.findall(node) for part in re.split("[:,]", inside)):
            yield place.rpartition(".")[0] if found.startswith(".") else found.rstrip(".")


def _can_be_set(container: Container, referenced: frozenset[str], key: str) -> bool:
    """Whether setting ``key`` in the resolved ``container`` is all that its override does."""
    parent, _, last = key.rpartition(".")
    node: Any = container
    for part in parent.split(".") if parent else []:
        node = node.get(part) if isinstance(node, dict) else None
    if not isinstance(node, dict) or last not in node or isinstance(node[last], dict):
        return False
    return "" not in referenced and not any(
        f"{key}." == f"{name}."[: len(key) + 1] or f"{name}." == f"{key}."[: len(name) + 1] for name in referenced
    )


def _set(container: Container, key: str, value: Any) -> None:
    *parents, last = key.split(".")
    node = container
    for part in parents:
        node = node[part]
    node[last] = value


def _missing(node: Container, place: str = "") -> Iterator[str]:
    for key, value in node.items():
        if isinstance(value, dict):
            yield from _missing(value, f"{place}{key}.")
        elif value == "???":
            yield f"{place}{key}"


def _copy_mappings(node: Container) -> Container:
    return {key: _copy_mappings(value) if isinstance(value, dict) else value for key, value in node.items()}


def _hydra() -> AbstractContextManager[object]:
    """Hydra started on the configuration folder."""
    if GlobalHydra.instance().is_initialized():
        return nullcontext()
    started: AbstractContextManager[object] = hydra.initialize_config_dir(str(CONFIG_FOLDER), version_base="1.3")
    return started
