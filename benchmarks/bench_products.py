"""The thin products of WeGeFT and LoRA at a 7B layer's sizes: `wegeft.methods.products` against torch's own kernels.

``python -m benchmarks.bench_products`` times, in turns, what a training step of one layer computes besides the frozen
layer's own products: the code ψx, the product that adds it, and their backward pass, in fp32 on the CPU. Beside them
stands the frozen product itself by either. Writes benchmarks/products.json; nothing asserts these figures.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from torch import Tensor

from benchmarks.conditions import conditions
from wegeft.methods import products
from wegeft.methods.products import add_product, product

RESULT = Path(__file__).with_name("products.json")
SIZES = {"q": (4096, 4096), "up": (4096, 11008), "down": (11008, 4096)}
"""Widths (I, O) of layers of Llama 2 7B."""
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
    report = {"tokens": options.tokens, "cases": cases, **circumstances}
    RESULT.write_text(json.dumps(report, indent=1) + "\n")
    for name, case in cases.items():
        print(f"{name}: torch's own takes {case['ratio']:.2f} times as long")


def works(tokens: int, d_in: int, d_out: int) -> dict[str, Callable[[], object]]:
    """What is timed for one layer."""
    x_NI, y_NO, weight_OI = torch.randn(tokens, d_in), torch.randn(tokens, d_out), torch.randn(d_out, d_in)
    return {
        "wegeft r=64": thin_step(x_NI, x_NI, 64),
        "lora r=16": thin_step(x_NI, y_NO, 16),
        "frozen": lambda: product(x_NI, weight_OI),
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


if __name__ == "__main__":
    main()
