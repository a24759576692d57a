"""``mode=efficiency``: compose the contestants, time them, write the report.

Does not: know any method; the configuration names them.
"""

import os
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from hydra.core.hydra_config import HydraConfig

from wegeft import models
from wegeft.compose import Composer
from wegeft.config import ModelConfig, RunConfig
from wegeft.efficiency.config import Contestant, EfficiencyConfig
from wegeft.efficiency.figures import COMPILED
from wegeft.efficiency.measure import measure, model_flops, peak_flops, prepare
from wegeft.efficiency.report import Report, write_report
from wegeft.errors import UserError
from wegeft.experiment import choose_device, set_linear_kernel
from wegeft.files import check_writable
from wegeft.methods import build_method
from wegeft.products import ONEDNN, product
from wegeft.records.provenance import collect_provenance
from wegeft.tables.steps import print_report
from wegeft.training.regional import check_compiler

Node = dict[str, Any]
MATRIX = 2048
"""Side of the product that tells a machine's rate: large enough to be near its best, a second at most on a CPU."""


def efficiency(config: RunConfig) -> None:
    """Time every contestant of ``config.efficiency`` and write the report.

    Raises:
        UserError: a contestant that cannot be composed or does not fit the backbone; nothing has been loaded then.
    """
    wanted = config.efficiency
    if wanted is None:
        raise UserError("mode=efficiency needs contestants: start it as +experiment=efficiency.")
    if config.model.quantise is not None:  # contestants share weights, and a quantised layer keeps a state with its own
        raise UserError("mode=efficiency times contestants on plain weights: set model.quantise=null.")
    model = shortened(config.model, wanted.layers)
    composer = Composer()
    nodes = {name: _method_node(contestant, composer) for name, contestant in wanted.chosen().items()}
    for node in nodes.values():
        build_method(node).attach(models.skeleton(model), model.head_modules)
    if wanted.compiled:
        check_compiler(choose_device(config), "efficiency.compiled")
    check_writable("efficiency.folder", Path(wanted.folder))
    report = _measured(config, wanted, model, nodes)
    path = write_report(report, Path(wanted.folder))
    print_report(report, path)


def shortened(config: ModelConfig, layers: int | None) -> ModelConfig:
    """``config`` with so many layers of its architecture.

    Raises:
        UserError: trained weights, or an architecture that the YAML does not state.
    """
    if layers is None:
        return config
    if config.weights != "random" or config.architecture is None:
        raise UserError(
            f"efficiency.layers={layers} needs model.weights=random and a model that states its architecture; "
            "efficiency.layers=null keeps all layers."
        )
    return config.model_copy(update={"architecture": {**config.architecture, models.depth_key(config): layers}})


def _method_node(contestant: Contestant, composer: Composer) -> Node:
    """The method's node of a contestant, composed as the command line of its own run would be."""
    if contestant.method is not None:
        return contestant.method
    return composer.checked([*HydraConfig.get().overrides.task, *contestant.overrides]).method


def _measured(config: RunConfig, wanted: EfficiencyConfig, model: ModelConfig, nodes: dict[str, Node]) -> Report:
    """Load the backbone once, adapt a copy for each contestant, and time them."""
    provenance = collect_provenance(sys.argv)
    load = os.getloadavg()[0]
    device = choose_device(config)
    torch.manual_seed(config.seed)
    backbone = models.load_unread(model, device)
    linear_kernel = set_linear_kernel(backbone.model, config, device)
    probe = models.probe(backbone, wanted.tokens)
    heads: Sequence[str] = model.head_modules
    entered = [(name, name, False) for name in nodes] + [(f"{name}{COMPILED}", name, True) for name in wanted.compiled]
    rivals = {
        label: prepare(backbone.model, partial(build_method, nodes[name]), heads, config.seed, compiled)
        for label, name, compiled in entered
    }
    multiply = product if linear_kernel == ONEDNN else torch.mm  # the one by which the floor multiplies
    peak = partial(peak_flops, getattr(torch, model.dtype), device, MATRIX, multiply)
    before = peak()
    contestants = measure(rivals, probe, wanted.rounds, device)
    return Report(
        schema_version=1,
        model=model.name,
        scale=config.scale.name,
        weights=model.weights,
        layers=wanted.layers,
        tokens=wanted.tokens,
        dtype=model.dtype,
        device=device.type,
        linear_kernel=linear_kernel,
        load=load,
        model_flops=model_flops(rivals[wanted.floor], probe),
        peak_flops=max(before, peak()),  # what else the machine does at one of the two makes it look slow
        floor=wanted.floor,
        baseline=wanted.baseline,
        contestants=contestants,
        command=tuple(provenance["command"]),
        provenance=provenance,
    )
