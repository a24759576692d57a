"""One experiment from its configuration to its record, each stage one call.

Configuration → data → backbone → method attached → training → evaluation → record. Nothing flows backwards and
nothing is global.

Does not: know any method, task or family of backbones; they come through their interfaces.
"""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal

import torch
import yaml

from wegeft import console, lock, models
from wegeft.config import LoggerConfig, RunConfig
from wegeft.errors import UserError
from wegeft.evaluation.result import Evaluation
from wegeft.evaluation.samples import SAMPLES
from wegeft.evaluation.vllm_engine.check import check as check_vllm
from wegeft.evaluation.vllm_engine.export import exported
from wegeft.exits import DIVERGED
from wegeft.files import check_writable, remove_leftovers, write_atomically
from wegeft.methods import build_method
from wegeft.methods.base import Method
from wegeft.models.quantised import check_library, quantisable
from wegeft.planning.estimate import work_of
from wegeft.products import IS_FASTER, ONEDNN, TORCH, speed_up
from wegeft.records.assemble import assemble, evaluated_again, parameters
from wegeft.records.identity import digest, run_id
from wegeft.records.provenance import collect_provenance, own_command
from wegeft.records.store import InvalidRecord, Record, read_record, record_path, write_record
from wegeft.tasks import build_task
from wegeft.tasks.prepared import Prepared
from wegeft.training import adapter_file, checkpoint, evidence
from wegeft.training.distributed import current, is_sharded, local_device, processes, shard
from wegeft.training.epoch_choice import BestEpoch
from wegeft.training.logger import Log, open_logger
from wegeft.training.loop import NonFiniteError, train
from wegeft.training.memory import usage
from wegeft.training.regional import check_compiler
from wegeft.training.result import TrainingResult
from wegeft.training.schedule import steps_per_epoch
from wegeft.training.watch import watched
from wegeft.tuning.origin import origins

CHECKPOINTS = "checkpoints"
"""Folder inside the run's own that holds the state of an unfinished training."""


def run(config: RunConfig) -> None:
    """Train, evaluate, record; a run that has its record is shown instead of repeated, unless ``force`` says so."""
    with together(config):
        record, is_new = obtain(config, own_command())
        if not is_new:
            if record is not None:
                console.print_known(record, record_path(record["run_id"], Path(config.records_dir)))
            return
        _show(record, config)


def obtain(config: RunConfig, command: Sequence[str]) -> tuple[Record | None, bool]:
    """The record of a run, and whether it is new: one that is there is taken, unless ``force`` says otherwise.

    Of several processes only the main one returns the record; to be called within :func:`together`.

    Args:
        config: the run.
        command: the command line that repeats it, for the record.

    Raises:
        UserError: as :func:`check_fit` and :func:`execute`, or another process works at the run.
    """
    identity = run_id(config.plain())
    record, exists = _known(config, identity)
    if exists:
        return record, False
    check_fit(config)
    with alone(config, identity):
        record, exists = _known(config, identity)  # another process may have finished it in between
        if exists:
            return record, False
        record = execute(config, identity, train_first=True, command=command)
        if record is not None:
            write_record(record, Path(config.records_dir))
        if current().collect(record and record["status"])[0] == "finished" and current().is_main:
            checkpoint.drop(run_folder(config, identity) / CHECKPOINTS)
        return record, True


def evaluate(config: RunConfig) -> None:
    """Evaluate an adapter that was trained before (``adapter``, or the one of the same run) and record it.

    A record of the run that trained it, on the same data and backbone, keeps all that it says about the training.
    """
    identity = run_id(config.plain())
    with together(config):
        check_fit(config)
        with alone(config, identity):
            known = known_record(config, identity)
            if config.adapter is None and known is not None and known["status"] == "diverged":
                raise UserError(
                    f"run {identity} diverged, so it has no adapter to evaluate; adapter=FILE names another."
                )
            record = execute(config, identity, train_first=False, command=own_command())
            if record is not None and known is not None and _is_of_one_training(known, record):
                record = evaluated_again(known, record)
            if record is not None:
                write_record(record, Path(config.records_dir))
            _show(record, config)


def _is_of_one_training(known: Record, record: Record) -> bool:
    """Whether both are of one adapter, on the data and the backbone that it was trained on, as far as they say."""
    same = (known[part] == record[part] for part in ("adapter", "status"))
    backbone = known.get("backbone", record["backbone"])  # records that do not say are older
    return all(same) and known["data"]["hashes"] == record["data"]["hashes"] and backbone == record["backbone"]


def _clear_checkpoints_of_others(config: RunConfig, identity: str, made_of: Sequence[Any]) -> None:
    """Remove what this training must not go on from: one on other data or weights, or one that is over.

    ``made_of`` are the hashes of both. One that is over has its record, and ``force`` repeats it from the start; when
    that is interrupted, the record is still the same and the repetition goes on from its own checkpoints.
    """
    if current().is_main:
        folder, record = run_folder(config, identity) / CHECKPOINTS, record_path(identity, Path(config.records_dir))
        over = record.read_text(encoding="utf-8") if record.is_file() else None
        own, found = digest([made_of, over]), checkpoint.made_of(folder)
        if found != own and (found is not None or over is not None):
            if found is not None:
                console.print_note(
                    f"{folder} is of a training that is over, or on other data or weights: starting anew."
                )
            checkpoint.drop(folder)
        checkpoint.say_made_of(folder, own)
    current().collect(None)  # the others look for checkpoints too, and must not find what is being removed


@contextmanager
def together(config: RunConfig) -> Iterator[None]:
    """Join the other processes of the run, if a launcher has started more, and see to it that they do not hang."""
    minutes = config.runtime.stall_minutes
    patience = timedelta(days=365) if minutes is None else timedelta(minutes=minutes)
    with watched(minutes), processes(choose_device(config).type == "cuda", patience):
        yield


@contextmanager
def alone(config: RunConfig, identity: str) -> Iterator[None]:
    """Let no other run of the same name work beside this one, and clear away what a killed one left behind."""
    folder, world, refusal = run_folder(config, identity), current(), None
    with ExitStack() as stack:
        if world.is_main:
            try:
                for key in ("output_dir", "records_dir"):
                    check_writable(key, Path(getattr(config, key)))
                stack.enter_context(lock.hold(folder))
                for place, stem in ((folder, ""), (folder / CHECKPOINTS, ""), (Path(config.records_dir), identity)):
                    remove_leftovers(place, stem)
            except UserError as error:
                refusal = error
        code = world.collect(refusal and refusal.exit_code)[0]
        if refusal is not None:
            raise refusal
        if code is not None:
            raise SystemExit(code)  # the main process says why
        yield


def _known(config: RunConfig, identity: str) -> tuple[Record | None, bool]:
    """The record that makes this run unnecessary, on the main process, and whether there is one."""
    known = known_record(config, identity)
    if not current().collect(known is not None)[0] or config.force:
        return None, False
    return (known if current().is_main else None), True


def known_record(config: RunConfig, identity: str) -> Record | None:
    """The record of this run, if there is one.

    Raises:
        UserError: it cannot be read, or it was made with other data, or other weights, under the same name.
    """
    path = record_path(identity, Path(config.records_dir))
    if not path.is_file():
        return None
    try:
        record = read_record(path)
    except InvalidRecord as error:
        raise UserError(f"the record {path} {error}") from error
    if config.force:
        return record
    if record["data"]["hashes"] != build_task(config.task).content_hashes():
        raise UserError(f"the record {path} was made with other data than data.root holds now; force=true replaces it.")
    _check_backbone(record, path, config)
    return record


def _check_backbone(record: Record, path: Path, config: RunConfig) -> None:
    """Refuse a record of other weights; one whose weights cannot be had, or moved on upstream, is shown with a note."""
    source, recorded = f"model.source={config.model.source}", record.get("backbone")
    if recorded is None:  # an older record
        return
    note = None
    try:
        now = models.content_hashes(config.model)
    except UserError as error:
        note = f"the record is shown as it is, its backbone is not at hand: {error}"
    else:
        differing = sorted(name for name, _ in recorded.items() ^ now.items())
        if models.COMMIT in recorded and models.COMMIT in now and differing:
            note = f"{source} is at commit {now[models.COMMIT]} now, the record is of {recorded[models.COMMIT]}."
        elif differing:
            raise UserError(
                f"the record {path} was made with another backbone than {source} is now ({differing[0]} differs); "
                "force=true replaces it."
            )
    if note is not None and current().is_main:
        console.print_note(note)


def execute(config: RunConfig, identity: str, train_first: bool, command: Sequence[str]) -> Record | None:
    """Carry out one run and return its record, which names ``command``; writes only into the run's own folder.

    Of several processes the main one writes and returns the record, the others return None.

    Raises:
        UserError: something the person asked for cannot be had; nothing has been loaded or written then.
    """
    provenance = collect_provenance(command)  # first, so that it shows the code as it was when it was loaded
    task, folder, world = build_task(config.task), run_folder(config, identity), current()
    adapter = Path(config.adapter) if config.adapter else folder / adapter_file.NAME
    if not train_first:
        check_adapter(config, adapter)
    prepared = task.prepare(models.outline(config.model), config.protocol)
    method, counts = _adapted(config)
    contents = models.content_hashes(config.model)

    if world.is_main:
        write_atomically(folder / "config.yaml", yaml.safe_dump(config.plain(), sort_keys=False).encode())
    training, failure = None, None
    if not train_first:
        adapter_file.load(method, adapter)
    elif method.trainable():
        _clear_checkpoints_of_others(config, identity, [task.content_hashes(), contents])
        training, failure = _train(config, identity, method, prepared, provenance)
        if world.is_main and failure is None:
            adapter_file.save(method, folder / adapter_file.NAME)
        elif world.is_main:
            for name in (SAMPLES, adapter_file.NAME):  # of a run of this name that did not diverge
                (folder / name).unlink(missing_ok=True)
    evaluation = _evaluate(config, method, prepared, folder) if failure is None else None
    resources = usage(folder, world)
    if not world.is_main:
        return None
    return assemble(
        identity=identity,
        config=config.plain(),
        hyper_parameters=origins(config),
        provenance=provenance,
        backbone=contents,
        task=task,
        prepared=prepared,
        counts=counts,
        training=training,
        work=work_of(config, training) if training else None,
        evaluation=evaluation,
        failure=failure,
        adapter=adapter if counts["trainable"] and failure is None else None,
        resources=resources,
    )


def _adapted(config: RunConfig) -> tuple[Method, dict[str, Any]]:
    """The method in its backbone, on its device or spread over the devices of all processes, and the counts."""
    device = choose_device(config)
    if device.type == "cpu" and config.model.dtype == "bfloat16" and not _has_bfloat16():
        console.print_note(
            "This processor has no bfloat16 and emulates it hundreds of times slower; model.dtype=float32 is another, "
            "faster run."
        )
    spread = config.runtime.distributed == "fsdp" and current().size > 1
    torch.manual_seed(config.seed)
    backbone = load_backbone(config, torch.device("cpu") if spread else device)
    backbone_parameters = models.count_parameters(backbone.model)
    method = build_method(config.method)
    method.attach(backbone.model, config.model.head_modules)
    counts = parameters(method, backbone_parameters)
    if spread:
        shard(backbone.model, device)
    return method, counts


def load_backbone(config: RunConfig, device: torch.device) -> models.Backbone:
    """The backbone with its weights on ``device``, whose linear layers multiply as ``runtime.linear_kernel`` says."""
    backbone = models.load(config.model, device)
    set_linear_kernel(backbone.model, config, device)
    return backbone


def set_linear_kernel(model: torch.nn.Module, config: RunConfig, device: torch.device) -> Literal["torch", "onednn"]:
    """Let the linear layers of ``model`` multiply as ``runtime.linear_kernel`` says; by whom: torch or onednn."""
    if config.runtime.linear_kernel == "torch" or device.type != "cpu" or not IS_FASTER:
        return TORCH
    speed_up(model)
    return ONEDNN


def _has_bfloat16() -> bool:
    """Whether this processor multiplies matrices in bfloat16."""
    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


def run_folder(config: RunConfig, identity: str) -> Path:
    """Where a run keeps its resolved config, adapter and samples."""
    return Path(config.output_dir) / identity


def check_fit(config: RunConfig) -> None:
    """Refuse what cannot work, before anything is loaded: missing data files, modules, ranks, devices.

    The method is attached to the architecture alone (meta device), which costs no memory.

    Raises:
        UserError: the first thing that does not fit.
    """
    task, device = build_task(config.task), choose_device(config)
    task.check_data()
    if config.training.compile:
        check_compiler(device, "training.compile=true")
    skeleton = models.skeleton(config.model)
    quantised = _quantised_weights(config, skeleton)
    method = build_method(config.method)
    method.attach(skeleton, config.model.head_modules)
    trained = [name for name, weight in quantised.items() if weight.requires_grad]
    if trained:
        raise UserError(
            f"method={config.method['name']} trains {trained[0]}, which model.quantise={config.model.quantise} keeps "
            "in a few bits; set model.quantise=null."
        )
    if config.evaluation.engine == "vllm":
        check_vllm(config, task, method, device)
    if config.adapter is not None and not Path(config.adapter).is_file():
        raise UserError(f"adapter={config.adapter} is not a file.")


def check_adapter(config: RunConfig, path: Path) -> None:
    """Refuse an adapter file that is missing, broken or another method's, before anything is loaded."""
    method = build_method(config.method)
    method.attach(models.skeleton(config.model), config.model.head_modules)
    adapter_file.check(method, path)


def _quantised_weights(config: RunConfig, skeleton: torch.nn.Module) -> dict[str, torch.Tensor]:
    """The weights that ``model.quantise`` will keep in a few bits, by the names of their layers."""
    if config.model.quantise is None:
        return {}
    check_library(config.model)
    if config.runtime.distributed == "fsdp":
        raise UserError("runtime.distributed=fsdp does not shard quantised weights; set model.quantise=null, or ddp.")
    layers = quantisable(skeleton, config.model.head_modules)
    return {name: layer.weight for name, layer in layers.items()}


def choose_device(config: RunConfig) -> torch.device:
    """The device that ``runtime.device`` asks for, with the CPU threads set that ``runtime.threads`` asks for."""
    if config.runtime.threads is not None:
        torch.set_num_threads(config.runtime.threads)
    wanted = config.runtime.device
    if wanted == "cuda" and not torch.cuda.is_available():
        raise UserError("runtime.device=cuda, but torch sees no CUDA device; choices: auto, cpu.")
    if wanted == "auto":
        wanted = "cuda" if torch.cuda.is_available() else "cpu"
    return local_device(wanted)


def _train(
    config: RunConfig, identity: str, method: Method, prepared: Prepared[Any], provenance: dict[str, Any]
) -> tuple[TrainingResult, str | None]:
    """Train in place, going on from the run's last checkpoint; returns what was done and why it diverged, if it did."""
    folder = run_folder(config, identity)
    items, objective = prepared.train_items, prepared.objective_for(method.backbone, config.training)
    logger = config.logger if current().is_main else LoggerConfig(name="none", project="", mode="offline")
    with open_logger(logger, identity, config.plain(), config.output_dir) as log:
        choice = _epoch_choice(config, method, prepared, folder, log)
        try:
            checkpoints = folder / CHECKPOINTS
            result = train(
                method, items, objective, config.training, config.seed, choice or log, checkpoints, provenance
            )
            if choice is not None:
                choice.restore_best(result.steps)
            return result, None
        except NonFiniteError as error:
            if current().is_main:
                evidence.write(folder, error, prepared.objective, config.training.batching)
            return error.result, f"{error}."


def _epoch_choice(
    config: RunConfig, method: Method, prepared: Prepared[Any], folder: Path, log: Log
) -> BestEpoch | None:
    """What keeps the best epoch, where the task reports it; None where it reports the end of the training."""
    if prepared.epoch_choice is None:
        return None
    per_epoch = steps_per_epoch(config.training, len(prepared.train_items))
    return BestEpoch(method, prepared.epoch_choice, per_epoch, folder, log)


def _evaluate(config: RunConfig, method: Method, prepared: Prepared[Any], folder: Path) -> Evaluation | None:
    """Scores of the adapted backbone; None for random weights that are no control, which have none worth keeping.

    Sharded weights are not merged into: the answers are the same up to rounding.
    """
    if config.model.weights == "random" and not config.model.untrained_control:
        return None
    if config.evaluation.engine == "vllm":
        with exported(method, config, folder) as backbone:
            return prepared.evaluate(backbone, config.evaluation, folder)
    if config.evaluation.merge and method.mergeable and not is_sharded(method.backbone):
        method.merge()
    return prepared.evaluate(method.backbone, config.evaluation, folder)


def _show(record: Record | None, config: RunConfig) -> None:
    """Show a new record, and end with an exit code that tells a diverged run from a finished one."""
    if record is not None:
        console.print_record(record, record_path(record["run_id"], Path(config.records_dir)))
    if current().collect(record and record["status"])[0] != "finished":
        raise SystemExit(DIVERGED)
