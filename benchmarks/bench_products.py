"""`wegeft.products` against torch's own kernels: the thin products of a method, and whole steps of a backbone.

``python -m benchmarks.bench_products`` times, in turns, what a training step of one Llama 2 7B layer computes besides
the frozen layer's own products (the code, the product that adds it, their backward pass, fp32, on the CPU), then steps
and evaluation passes of backbones adapted with WeGeFT whose linear layers multiply by either kernel. Writes
benchmarks/products.json; nothing asserts these figures.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from hydra import compose, initialize_config_dir
from torch import Tensor

from benchmarks.conditions import conditions
from wegeft import models, products
from wegeft.cli import CONFIG_FOLDER, to_run_config
from wegeft.efficiency.measure import measure, prepare
from wegeft.efficiency.mode import shortened
from wegeft.methods import build_method
from wegeft.products import ONEDNN, TORCH, add_product, product, speed_up

RESULT = Path(__file__).with_name("products.json")
SIZES = {"q": (4096, 4096), "up": (4096, 11008), "down": (11008, 4096)}
"""Widths (I, O) of layers of Llama 2 7B."""
BACKBONES = {"mini_llama": ("scale=mini", None), "smollm2_135m": ("scale=small", None), "llama2_7b": ("scale=paper", 1)}
"""The scale that each is for, and how many of its layers are kept."""
NEVER = 1 << 62


def main() -> None:
    """Time and write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--tokens", type=int, default=512)
    parser.add_argument("--rounds", type=int, default=15, help="timed rounds after one that warms up")
    options = parser.parse_args()
    circumstances = conditions()
    torch.manual_seed(0)
    cases = {
        f"{name}, {what}": compare(work, options.rounds)
        for name, (d_in, d_out) in SIZES.items()
        for what, work in works(options.tokens, d_in, d_out).items()
    }
    steps = {name: step_ratios(name, options.tokens, options.rounds) for name in BACKBONES}
    report = {"tokens": options.tokens, "products": cases, "backbones": steps, **circumstances}
    RESULT.write_text(json.dumps(report, indent=1) + "\n")
    for name, case in cases.items():
        print(f"{name}: torch's own takes {case['ratio']:.2f} times as long")
    for name, case in steps.items():
        print(f"{name}: {case['step_ratio']:.2f} times as long a step, {case['evaluation_ratio']:.2f} an evaluation")


def works(tokens: int, d_in: int, d_out: int) -> dict[str, Callable[[], object]]:
    """What is timed for one layer."""
    x_NI, y_NO = torch.randn(tokens, d_in), torch.randn(tokens, d_out)
    return {
        "wegeft r=64": thin_step(x_NI, x_NI, 64),
        "lora r=16": thin_step(x_NI, y_NO, 16),
    }


def thin_step(x_NI: Tensor, y_NO: Tensor, rank: int) -> Callable[[], object]:
    """Forward and backward of Y + (X Aᵀ)Bᵀ."""
    a_RI, b_OR = torch.randn(rank, x_NI.shape[1]), torch.randn(y_NO.shape[1], rank)
    leaves = [tensor.clone().requires_grad_() for tensor in (x_NI, y_NO, a_RI, b_OR)]
    grad_NO = torch.randn_like(y_NO)

    def step() -> object:
        x, y, a, b = leaves
        return torch.autograd.grad(add_product(y, product(x, a), b), leaves, grad_NO)

    return step


def compare(work: Callable[[], object], rounds: int) -> dict[str, Any]:
    """Seconds of ``work`` by either kernel, in turns, and the ratio of the medians."""
    seconds: dict[str, list[float]] = {"torch": [], "ours": []}
    for _ in range(rounds + 1):
        for name, times in seconds.items():
            with mock.patch.object(products, "LARGE", NEVER if name == "torch" else products.LARGE):
                started = time.perf_counter()
                work()
                times.append(time.perf_counter() - started)
    timed = {name: times[1:] for name, times in seconds.items()}
    return {
        "seconds": timed,
        "ratio": statistics.median(timed["torch"]) / statistics.median(timed["ours"]),
    }


def step_ratios(name: str, tokens: int, rounds: int) -> dict[str, Any]:
    """Seconds of training steps and of evaluation passes by either kernel, in turns, and the ratios of the medians."""
    scale, layers = BACKBONES[name]
    words = [scale, f"model={name}", "model.weights=random", "model.dtype=float32", "method.weight_dropout=0"]
    with initialize_config_dir(str(CONFIG_FOLDER), version_base="1.3"):
        config = to_run_config(compose("config", overrides=[*words, "protocol=clean"]))
    backbone = models.load_unread(shortened(config.model, layers), torch.device("cpu"))
    rivals = {
        kernel: prepare(backbone.model, partial(build_method, config.method), (), 0) for kernel in (TORCH, ONEDNN)
    }
    speed_up(rivals[ONEDNN].model)
    figures = measure(rivals, models.probe(backbone, tokens), rounds, torch.device("cpu"))
    theirs, ours = figures[TORCH], figures[ONEDNN]
    return {
        "layers": layers,
        "step_seconds": {kernel: found.step_seconds for kernel, found in figures.items()},
        "step_ratio": theirs.step / ours.step,
        "evaluation_seconds": {kernel: found.evaluation_seconds for kernel, found in figures.items()},
        "evaluation_ratio": statistics.median(theirs.evaluation_seconds) / statistics.median(ours.evaluation_seconds),
    }


if __name__ == "__main__":
    main()
