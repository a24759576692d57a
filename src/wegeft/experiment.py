"""One experiment from its configuration to its record, each stage one call.

Configuration → data → backbone → method attached → training → evaluation → record. Nothing flows backwards and
nothing is global.

Does not: know any method, task or family of backbones; they come through their interfaces.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import yaml

from wegeft import console, lock, models
from wegeft.config import RunConfig
from wegeft.errors import UserError
from wegeft.evaluation.result import Evaluation
from wegeft.exits import DIVERGED
from wegeft.files import remove_leftovers, write_atomically
from wegeft.methods import build_method
from wegeft.methods.base import Method
from wegeft.records.assemble import assemble, parameters
from wegeft.records.identity import run_id
from wegeft.records.provenance import collect_provenance, own_command
from wegeft.records.store import InvalidRecord, Record, read_record, record_path, write_record
from wegeft.tasks import build_task
from wegeft.tasks.prepared import Prepared
from wegeft.training import adapter_file, checkpoint
from wegeft.training.logger import open_logger
from wegeft.training.loop import NonFiniteError, train
from wegeft.training.result import TrainingResult

CHECKPOINTS = "checkpoints"
"""Folder inside the run's own that holds the state of an unfinished training."""


def run(config: RunConfig) -> None:
    """Train, evaluate, record; a run that has its record is shown instead of repeated, unless ``force`` says so."""
    identity = run_id(config.plain())
    if _show_known(config, identity):
        return
    check_fit(config)
    with alone(config, identity):
        if _show_known(config, identity):  # another process has finished it in between
            return
        _keep(execute(config, identity, train_first=True), config)
        checkpoint.drop(run_folder(config, identity) / CHECKPOINTS)


def evaluate(config: RunConfig) -> None:
    """Evaluate an adapter that was trained before (``adapter``, or the one of the same run) and record it.

    A record of the run that trained it keeps what it says about the training.
    """
    identity = run_id(config.plain())
    check_fit(config)
    with alone(config, identity):
        known = known_record(config, identity)
        record = execute(config, identity, train_first=False)
        if known is not None and known["adapter"] == record["adapter"]:
            record["training"] = known["training"]
        _keep(record, config)


def _show_known(config: RunConfig, identity: str) -> bool:
    """Show the record that makes this run unnecessary, if there is one."""
    known = known_record(config, identity)
    if known is None or config.force:
        return False
    console.print_known(known, record_path(identity, Path(config.records_dir)))
    return True


@contextmanager
def alone(config: RunConfig, identity: str) -> Iterator[None]:
    """Be the only process at work on the run, and clear away what a killed one left behind."""
    folder = run_folder(config, identity)
    with lock.hold(folder):
        for place, stem in ((folder, ""), (folder / CHECKPOINTS, ""), (Path(config.records_dir), identity)):
            remove_leftovers(place, stem)
        yield


def known_record(config: RunConfig, identity: str) -> Record | None:
    """The record of this run, if there is one.

    Raises:
        UserError: it cannot be read, or it was made with other data under the same name.
    """
    path = record_path(identity, Path(config.records_dir))
    if not path.is_file():
        return None
    try:
        record = read_record(path)
    except InvalidRecord as error:
        raise UserError(f"the record {path} {error}") from error
    if not config.force and record["data"]["hashes"] != build_task(config.task).content_hashes():
        raise UserError(f"the record {path} was made with other data than data.root holds now; force=true replaces it.")
    return record


def execute(config: RunConfig, identity: str, train_first: bool) -> Record:
    """Carry out one run and return its record; writes only into the run's own folder.

    Raises:
        UserError: something the person asked for cannot be had; nothing has been loaded or written then.
    """
    provenance = collect_provenance(own_command())  # first, so that it shows the code as it was when it was loaded
    task = build_task(config.task)
    device = choose_device(config)
    torch.manual_seed(config.seed)
    backbone = models.load(config.model, device)
    backbone_parameters = models.count_parameters(backbone.model)
    method = build_method(config.method)
    method.attach(backbone.model, config.model.head_modules)
    counts = parameters(method, backbone_parameters)
    prepared = task.prepare(backbone, config.protocol)

    folder = run_folder(config, identity)
    write_atomically(folder / "config.yaml", yaml.safe_dump(config.plain(), sort_keys=False).encode())
    adapter = Path(config.adapter) if config.adapter else folder / adapter_file.NAME
    training, failure = None, None
    if not train_first:
        adapter_file.load(method, adapter)
    elif method.trainable():
        training, failure = _train(config, identity, method, prepared)
        adapter_file.save(method, folder / adapter_file.NAME)
    evaluation = _evaluate(config, method, prepared, folder) if failure is None else None
    return assemble(
        identity=identity,
        config=config.plain(),
        provenance=provenance,
        task=task,
        prepared=prepared,
        counts=counts,
        training=training,
        evaluation=evaluation,
        failure=failure,
        adapter=adapter if counts["trainable"] else None,
    )


def run_folder(config: RunConfig, identity: str) -> Path:
    """Where a run keeps its resolved config, adapter and samples."""
    return Path(config.output_dir) / identity


def check_fit(config: RunConfig) -> None:
    """Refuse what cannot work, before anything is loaded: missing data files, modules, ranks, devices.

    The method is attached to the architecture alone (meta device), which costs no memory.

    Raises:
        UserError: the first thing that does not fit.
    """
    build_task(config.task).check_data()
    choose_device(config)
    method = build_method(config.method)
    method.attach(models.skeleton(config.model), config.model.head_modules)
    if config.adapter is not None and not Path(config.adapter).is_file():
        raise UserError(f"adapter={config.adapter} is not a file.")


def choose_device(config: RunConfig) -> torch.device:
    """The device that ``runtime.device`` asks for, with the CPU threads set that ``runtime.threads`` asks for."""
    if config.runtime.threads is not None:
        torch.set_num_threads(config.runtime.threads)
    wanted = config.runtime.device
    if wanted == "cuda" and not torch.cuda.is_available():
        raise UserError("runtime.device=cuda, but torch sees no CUDA device; choices: auto, cpu.")
    if wanted == "auto":
        wanted = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(wanted)


def _train(
    config: RunConfig, identity: str, method: Method, prepared: Prepared[Any]
) -> tuple[TrainingResult, str | None]:
    """Train in place, going on from the run's last checkpoint; returns what was done and why it diverged, if it did."""
    folder = run_folder(config, identity)
    with open_logger(config.logger, identity, config.plain(), config.output_dir) as log:
        try:
            items, objective = prepared.train_items, prepared.objective
            return train(method, items, objective, config.training, config.seed, log, folder / CHECKPOINTS), None
        except NonFiniteError as error:
            return error.result, f"{error}."


def _evaluate(config: RunConfig, method: Method, prepared: Prepared[Any], folder: Path) -> Evaluation | None:
    """Scores of the adapted backbone; None for random weights that are no control, which have none worth keeping."""
    if config.model.weights == "random" and not config.model.untrained_control:
        return None
    if config.evaluation.merge and method.mergeable:
        method.merge()
    return prepared.evaluate(method.backbone, config.evaluation, folder)


def _keep(record: Record, config: RunConfig) -> None:
    """Write the record, show it, and end with an exit code that tells a diverged run from a finished one."""
    path = write_record(record, Path(config.records_dir))
    console.print_record(record, path)
    if record["status"] != "finished":
        raise SystemExit(DIVERGED)
