"""Composing configurations in tests the way `run.py` does."""

from hydra import compose, initialize_config_dir

from wegeft.cli import CONFIG_FOLDER, to_run_config
from wegeft.config import RunConfig


def run_config(*overrides: str) -> RunConfig:
    """The checked configuration of `python run.py OVERRIDES`."""
    with initialize_config_dir(str(CONFIG_FOLDER), version_base="1.3"):
        return to_run_config(compose("config", overrides=list(overrides)))


def choices(group: str) -> list[str]:
    """The names in a config group."""
    return sorted(path.stem for path in (CONFIG_FOLDER / group).glob("*.yaml"))
