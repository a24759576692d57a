"""The typed configuration of one run, checked once, before anything is loaded or written.

Hydra composes the YAML groups in ``configs/``; :func:`parse` turns the resolved container into the frozen
:class:`RunConfig` that the rest of the code reads.

Does not: compose YAML (``wegeft.cli``), look at data files or weights, or import torch.
"""

from collections.abc import Mapping
from importlib.util import find_spec
from typing import Annotated, Any, Literal, Self

from pydantic import Field, SerializeAsAny, model_validator

from wegeft.efficiency.config import EfficiencyConfig
from wegeft.errors import UserError
from wegeft.evaluation.config import EvaluationConfig, Which
from wegeft.evaluation.judging.config import JudgeConfig
from wegeft.schema import Strict, load_target, validate
from wegeft.tasks.protocol import BaseProtocol
from wegeft.tuning.config import TuneConfig, Tuned
from wegeft.tuning.found import with_tuned

Mode = Literal[
    "run", "plan", "evaluate", "rescore", "samples", "contamination", "efficiency", "judge", "clusters", "tune"
]
ScaleName = Literal["mini", "small", "paper"]
Family = Literal["causal_lm", "sequence_classifier", "image_classifier"]
QUANTISERS = ("bitsandbytes", "torchao")
"""Libraries that quantise a backbone, the one that is preferred first: its kernels compute on the few bits."""


class DataConfig(Strict):
    """Where real data files lie; None where the task's data is embedded."""

    root: str | None


class ScaleConfig(Strict):
    """Which rung of the ladder mini, small, paper the run stands on."""

    name: ScaleName


class ModelConfig(Strict):
    """A backbone: where its weights come from and which of its modules methods adapt by default.

    ``source`` is a folder, a hub id, or ``packaged`` for a mini backbone that ships with the package.
    ``architecture`` (fields of the transformers config, ``model_type`` included; for images, arguments of the timm
    model ``name``) lets a plan be made without the weights; None reads it from ``source``. Classifiers have two keys
    more: ``classes``, the width of the new head that the task asks for, and ``drop_path``, the rate of stochastic depth
    while training. Language backbones can be quantised: ``quantise`` says how, ``quantiser`` by which library, which is
    a part of the run's identity because the libraries round differently; see ``wegeft.models.quantised``.
    """

    name: str
    family: Family
    source: str = Field(min_length=1)
    revision: str | None
    weights: Literal["pretrained", "random"]
    untrained_control: bool
    dtype: Literal["float32", "bfloat16"]
    architecture: dict[str, Any] | None
    adapted_modules: tuple[str, ...]
    head_modules: tuple[str, ...]
    classes: int | None = Field(default=None, ge=1)
    drop_path: float = Field(default=0.0, ge=0, lt=1)
    quantise: Literal["int8", "nf4"] | None = None
    quantiser: Literal["auto", "bitsandbytes", "torchao"] = "auto"

    @model_validator(mode="before")
    @classmethod
    def _chosen_quantiser(cls, node: Any) -> Any:
        """``auto`` becomes a name. A plain backbone has neither key, as in records that are older than the keys."""
        if not isinstance(node, Mapping):
            return node
        if node.get("quantise") is None:
            return {key: value for key, value in node.items() if key not in ("quantise", "quantiser")}
        if node.get("quantiser", "auto") != "auto":
            return node
        installed = next((name for name in QUANTISERS if find_spec(name)), None)
        if installed is None:
            raise ValueError(
                f"model.quantise={node['quantise']} needs {' or '.join(QUANTISERS)}, and neither is installed: pip "
                "install '.[quantised]', or name one in model.quantiser to plan for another machine"
            )
        return {**node, "quantiser": installed}

    @model_validator(mode="after")
    def _quantised_is_text(self) -> Self:
        if self.quantise is not None and self.family == "image_classifier":
            raise ValueError(f"model.quantise={self.quantise} is for language backbones, not for model={self.name}")
        return self


class TrainingConfig(Strict):
    """The recipe of the optimisation: sizes, optimiser and schedule.

    ``fp32_masters`` is about trained parameters shorter than fp32: see ``wegeft.training.masters``.
    ``min_learning_rate`` and ``warmup_from`` are where ``cosine_by_epoch`` ends and where its warm-up begins; the other
    schedules have neither. ``prefix_cache_gb`` is read for images alone: see ``wegeft.training.kept_prefix``.
    """

    recipe: str
    epochs: int = Field(ge=1)
    max_steps: int | None = Field(ge=1)
    batch_size: int = Field(ge=1)
    micro_batch_size: int | None = Field(ge=1)
    order: Literal["shuffled", "length_grouped"]
    batching: Literal["padded", "flat"]
    learning_rate: float = Field(gt=0)
    schedule: Literal["linear", "cosine", "constant", "cosine_by_epoch"]
    warmup_ratio: float = Field(ge=0, lt=1)
    min_learning_rate: float = Field(default=0.0, ge=0)
    warmup_from: float = Field(default=0.0, ge=0)
    weight_decay: float = Field(ge=0)
    betas: tuple[Annotated[float, Field(ge=0, lt=1)], Annotated[float, Field(ge=0, lt=1)]]
    eps: float = Field(gt=0)
    max_grad_norm: float | None = Field(gt=0)
    fp32_masters: bool = True
    gradient_checkpointing: bool
    compile: bool
    checkpoint_every: int = Field(ge=1)
    prefix_cache_gb: float = Field(default=0.0, ge=0)


class RuntimeConfig(Strict):
    """What may differ between two machines without changing a result.

    ``linear_kernel`` says who multiplies in the backbone's linear layers: torch's choice, or the faster one by
    `wegeft.products`. Records from before it had the first.
    """

    device: Literal["auto", "cpu", "cuda"]
    threads: int | None = Field(ge=1)
    linear_kernel: Literal["auto", "torch"] = "torch"
    distributed: Literal["ddp", "fsdp"]
    stall_minutes: float | None = Field(gt=0)


class LoggerConfig(Strict):
    """Where the curves go besides the record."""

    name: Literal["none", "wandb"]
    project: str
    mode: Literal["online", "offline"]


class SamplesConfig(Strict):
    """Which answers of a run ``mode=samples`` shows."""

    which: Which
    subset: str | None
    limit: int | None = Field(ge=1)


class PlanConfig(Strict):
    """What ``mode=plan`` plans for; ``hardware`` is ``auto``, a name of ``planning/hardware.yaml`` or of a record."""

    hardware: str


class ClustersConfig(Strict):
    """Which images ``mode=clusters`` shows, by name or by class, and over how many it scores where clusters look."""

    images: tuple[str, ...] | None = Field(min_length=1)
    class_name: str | None
    only_right: bool
    limit: int = Field(ge=1)
    scored: int | None = Field(ge=1)


class RunConfig(Strict):
    """Everything one run is told."""

    mode: Mode
    seed: int = Field(ge=0, lt=2**32)
    force: bool
    tuned: Tuned | None
    adapter: str | None
    run: str | None
    samples: SamplesConfig
    judge: JudgeConfig
    plan: PlanConfig
    table: str | None
    clusters: ClustersConfig
    tune: TuneConfig
    output_dir: str
    records_dir: str
    data: DataConfig
    scale: ScaleConfig
    model: ModelConfig
    task: dict[str, Any]
    method: dict[str, Any]
    protocol: SerializeAsAny[BaseProtocol]
    training: TrainingConfig
    evaluation: EvaluationConfig
    runtime: RuntimeConfig
    logger: LoggerConfig
    efficiency: EfficiencyConfig | None = None

    def plain(self) -> dict[str, Any]:
        """The configuration as plain data, as it is hashed, recorded and written.

        Keys that only some kinds of run have are left away where they are not set, and so is how a search would go.
        """
        return self.model_dump(mode="json", exclude_unset=True, exclude={"tune"})


def parse(container: Mapping[str, Any]) -> RunConfig:
    """The resolved ``container`` as a :class:`RunConfig`, with the values of ``tuned`` in their places.

    Raises:
        UserError: any value is refused; the sentence names its dotted key and the choices.
    """
    container = with_tuned(container)
    task, _ = load_target(_node(container, "task"), "task")
    protocol = validate(task.Protocol, _node(container, "protocol"), "protocol")
    config = validate(RunConfig, {**container, "protocol": protocol})
    if config.mode == "run" and config.adapter is not None:  # training would have nowhere to put its own
        raise UserError(f"adapter={config.adapter} is evaluated and not trained; set mode=evaluate.")
    method, _ = load_target(config.method, "method")
    for group, target in (("method", method), ("task", task)):
        if config.model.family not in target.families:
            raise UserError(
                f"{group}={getattr(config, group)['name']} does not fit model={config.model.name}: it works on "
                f"{', '.join(sorted(target.families))} backbones and this one is a {config.model.family}."
            )
    return config


def _node(container: Mapping[str, Any], group: str) -> Mapping[str, Any]:
    """The node of a group of ``container``."""
    node = container.get(group)
    if not isinstance(node, Mapping):
        raise UserError(f"{group} is missing.")
    return node
