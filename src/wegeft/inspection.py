"""Modes that look at what is there instead of running anything: samples, rescoring, contamination.

Does not: change a record, samples or data.
"""

from pathlib import Path

from rich.console import Console

from wegeft.config import RunConfig
from wegeft.errors import UserError
from wegeft.evaluation.browse import browse
from wegeft.evaluation.rescore import print_rescored, rescore_run
from wegeft.tasks import build_task
from wegeft.tasks.contamination import contamination as overlaps
from wegeft.tasks.contamination import print_contamination


def rescore(config: RunConfig) -> None:
    """Score the kept answers of ``run`` with today's extraction rules and show every one that changes."""
    print_rescored(rescore_run(chosen_run(config)), Console())


def samples(config: RunConfig) -> None:
    """Browse the answers of ``run``."""
    wanted = config.samples
    browse(chosen_run(config), wanted.which, wanted.subset, wanted.limit, Console())


def contamination(config: RunConfig) -> None:
    """Report which test questions of the task stand in its training set."""
    print_contamination(overlaps(build_task(config.task)), Console())


def chosen_run(config: RunConfig) -> Path:
    """The folder of the run that ``run`` names by its id or the beginning of it.

    Raises:
        UserError: none or several begin like this; the sentence lists what there is.
    """
    folders = sorted(path.parent for path in Path(config.output_dir).glob("*/config.yaml"))
    names = [folder.name for folder in folders]
    if config.run is None:
        raise UserError(f"mode={config.mode} needs run=ID; {config.output_dir} has {', '.join(names) or 'none'}.")
    found = [folder for folder in folders if folder.name.startswith(config.run)]
    if len(found) != 1:
        many = "several runs begin" if found else "no run begins"
        raise UserError(f"run={config.run}: {many} with this; {config.output_dir} has {', '.join(names) or 'none'}.")
    return found[0]
