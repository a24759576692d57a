"""Composing configurations in tests the way `run.py` does."""

import functools
from typing import Any

import yaml
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from wegeft.cli import CONFIG_FOLDER
from wegeft.compose import Composer
from wegeft.config import RunConfig, parse
from wegeft.schema import load_class

TASK_OF_FAMILY = {"causal_lm": "commonsense", "image_classifier": "fgvc/cub", "sequence_classifier": "glue/rte"}
"""A task for each kind of backbone, where a test needs any."""


_composer = Composer()
"""Equal to Hydra, as tests/test_config.py and tests/test_compose.py show, and far faster."""


def composed(*overrides: str) -> dict[str, Any]:
    """The resolved configuration of `python run.py OVERRIDES`, its values not checked."""
    return _composer.compose(overrides)


def run_config(*overrides: str) -> RunConfig:
    """The checked configuration of `python run.py OVERRIDES`."""
    return parse(composed(*overrides))


def by_hydra(*overrides: str) -> dict[str, Any]:
    """As :func:`composed`, by Hydra itself."""
    with initialize_config_dir(str(CONFIG_FOLDER), version_base="1.3"):
        found = OmegaConf.to_container(compose("config", overrides=list(overrides)), resolve=True)
    assert isinstance(found, dict)
    return {str(key): value for key, value in found.items()}


def choices(group: str) -> list[str]:
    """The names in a config group, those in its folders included; `base` in a folder is what the others share."""
    folder = CONFIG_FOLDER / group
    paths = sorted(path.relative_to(folder).with_suffix("") for path in folder.rglob("*.yaml"))
    return [path.as_posix() for path in paths if path.name != "base"]


def fitting_task(group: str, name: str) -> str:
    """`task=...` for a kind of backbone that the member `name` of `group` fits."""
    fitting = families(group, name)
    return f"task={next(task for family, task in TASK_OF_FAMILY.items() if family in fitting)}"


@functools.cache
def families(group: str, name: str) -> frozenset[str]:
    """The kinds of backbone that the member `name` of `group` (model, method or protocol) fits."""
    node: dict[str, Any] = yaml.safe_load((CONFIG_FOLDER / group / f"{name}.yaml").read_text())
    if "_target_" in node:
        fitting: frozenset[str] = load_class(node["_target_"]).families
        return fitting
    if "family" in node:
        return frozenset({node["family"]})
    if "${task." in str(node.get("epochs")):  # a recipe that takes them from the tasks of one kind
        return frozenset({"sequence_classifier"})
    if group == "protocol":
        keys = {"pad_first": "causal_lm", "choose_epoch": "sequence_classifier"}
        return frozenset({next((family for key, family in keys.items() if key in node), "image_classifier")})
    parent = next((entry for entry in node.get("defaults", ()) if isinstance(entry, str) and entry != "_self_"), None)
    return frozenset(TASK_OF_FAMILY) if parent is None else families(group, parent)
