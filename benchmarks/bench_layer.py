"""What a training step of every method costs over the frozen backbone, at the shape of a large decoder layer.

``python -m benchmarks.bench_layer`` builds one decoder layer of a 7B shape with random weights, lets every contestant
share them, times forward and backward of all in turns, and writes benchmarks/layer_<device>.json: medians, extremes
and ratios to the floor (forward, and the gradient of the input, with nothing trainable) and to PEFT's LoRA. Also the
bytes kept for the backward pass, and on a GPU the peak. Run it on a quiet machine; nothing asserts these figures.
"""

import argparse
import copy
import json
import os
import random
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import peft
import torch
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForCausalLM

from benchmarks import official_forms
from wegeft.cli import CONFIG_FOLDER
from wegeft.methods import build_method
from wegeft.records.provenance import hardware

TARGETS = ("q_proj", "k_proj", "v_proj", "up_proj", "down_proj")


@dataclass
class Shape:
    """What is timed: an architecture, a batch, a precision and a place."""

    model: str
    layers: int
    tokens: int
    dtype: torch.dtype
    device: torch.device


def main() -> None:
    """Time and write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", default="llama2_7b", help="a file of configs/model with an architecture")
    parser.add_argument("--layers", type=int, default=1, help="decoder layers")
    parser.add_argument("--tokens", type=int, default=512, help="tokens of the batch, in one sequence")
    parser.add_argument("--rounds", type=int, default=7, help="timed rounds after one that is not")
    parser.add_argument("--dtype", default="float32", choices=["float32", "bfloat16"])
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--only", default="", help="comma-separated contestants besides the floor and PEFT's LoRA")
    options = parser.parse_args()
    device = torch.device(options.device)
    shape = Shape(options.model, options.layers, options.tokens, getattr(torch, options.dtype), device)
    load = os.getloadavg()[0]
    figures = measure(shape, options.rounds, set(filter(None, options.only.split(","))))
    report = {
        "command": " ".join(["python", *sys.argv]),
        "model": shape.model,
        "layers": shape.layers,
        "tokens": shape.tokens,
        "dtype": options.dtype,
        "rounds": options.rounds,
        "load_before": load,
        "contestants": figures,
        "hardware": hardware(),
    }
    Path(__file__).with_name(f"layer_{device.type}.json").write_text(json.dumps(report, indent=1) + "\n")
    for name, row in figures.items():
        print(
            f"{row['seconds']:8.4f} s  {row['of_floor']:5.3f} of floor  {row['of_peft_lora']:5.3f} of PEFT LoRA  {name}"
        )


def contestants() -> dict[str, Callable[[nn.Module], nn.Module]]:
    """Name → what it does to a backbone."""
    rank64 = ("method.r=64", "method.alpha=128")
    no_dropout = "method.weight_dropout=0"
    lora = ("method.r=16", "method.alpha=32", "method.dropout=0")
    return {
        "frozen floor": frozen,
        "peft lora r=16": by_peft(peft.LoraConfig(r=16, lora_alpha=32, target_modules=list(TARGETS))),
        "peft dora r=16": by_peft(peft.LoraConfig(r=16, lora_alpha=32, use_dora=True, target_modules=list(TARGETS))),
        "peft vera r=1024": by_peft(peft.VeraConfig(r=1024, target_modules=list(TARGETS))),
        "official v3 r=64": lambda backbone: official(backbone, "v3"),
        "official v5 r=64": lambda backbone: official(backbone, "v5"),
        "official v5 r=64, weight dropout": lambda backbone: official(backbone, "v5", 0.1),
        "wegeft r=64": by_method("wegeft", *rank64, no_dropout),
        "wegeft r=64, input form": by_method("wegeft", *rank64, no_dropout, "method.form=input"),
        "wegeft r=64, generated form": by_method("wegeft", *rank64, no_dropout, "method.form=generated"),
        "wegeft r=64, per layer": by_method("wegeft", *rank64, no_dropout, "method.sharing=per_layer"),
        "wegeft r=64, weight dropout": by_method("wegeft", *rank64),
        "lora r=16": by_method("lora", *lora),
        "dora r=16": by_method("dora", *lora),
        "red": by_method("red"),
    }


def frozen(backbone: nn.Module) -> nn.Module:
    """Nothing trainable."""
    return backbone.requires_grad_(False)


def official(backbone: nn.Module, form: Any, p: float = 0.0) -> nn.Module:
    """An official formulation."""
    official_forms.attach(backbone, TARGETS, 64, form, p)
    return backbone


def by_peft(config: peft.PeftConfig) -> Callable[[nn.Module], nn.Module]:
    """A method of PEFT, in its wrapper, whose forward pass ends in the backbone that is returned."""

    def apply(backbone: Any) -> nn.Module:
        wrapped = peft.get_peft_model(backbone, copy.deepcopy(config))
        inner: nn.Module = wrapped.get_base_model()
        return inner

    return apply


def by_method(name: str, *overrides: str) -> Callable[[nn.Module], nn.Module]:
    """A method of ours, composed at the scale of the paper."""

    def apply(backbone: nn.Module) -> nn.Module:
        with initialize_config_dir(str(CONFIG_FOLDER), version_base="1.3"):
            config = compose("config", overrides=["scale=paper", f"method={name}", *overrides])
        node: Any = OmegaConf.to_container(config.method, resolve=True)
        build_method(node).attach(backbone)
        return backbone

    return apply


def build_backbone(shape: Shape) -> nn.Module:
    """A few decoder layers with random weights; the vocabulary is small, because the head is not timed."""
    with initialize_config_dir(str(CONFIG_FOLDER), version_base="1.3"):
        architecture = dict(compose("config", overrides=[f"model={shape.model}"]).model.architecture)
    architecture |= {"num_hidden_layers": shape.layers, "vocab_size": 32, "pad_token_id": 0}
    config = AutoConfig.for_model(architecture.pop("model_type"), **architecture)
    with torch.device(shape.device):
        backbone: nn.Module = AutoModelForCausalLM.from_config(config, dtype=shape.dtype)
    return backbone


def measure(shape: Shape, rounds: int, only: set[str]) -> dict[str, dict[str, float]]:
    """Contestant → its figures; every round runs all of them, in a new order."""
    torch.manual_seed(0)
    shared = build_backbone(shape)
    weights = {id(p): p for p in shared.parameters()}
    chosen = {k: v for k, v in contestants().items() if not only or k in only | {"frozen floor", "peft lora r=16"}}
    models = {name: prepare(copy.deepcopy(shared, dict(weights)), apply) for name, apply in chosen.items()}
    kept = {name: saved_bytes(model, shape, set(weights)) for name, model in models.items()}
    seconds: dict[str, list[float]] = {name: [] for name in models}
    order = list(models)
    for turn in range(rounds + 1):
        random.Random(turn).shuffle(order)
        for name in order:
            elapsed = step(models[name], shape)
            if turn:  # the first round warms up
                seconds[name].append(elapsed)
    floor, lora = (statistics.median(seconds[name]) for name in ("frozen floor", "peft lora r=16"))
    return {
        name: {
            "seconds": statistics.median(times),
            "lowest": min(times),
            "highest": max(times),
            "of_floor": statistics.median(times) / floor,
            "of_peft_lora": statistics.median(times) / lora,
            "saved_bytes": kept[name],
            "peak_bytes": peak_bytes(models[name], shape),
            "trainable": sum(p.numel() for p in models[name].parameters() if p.requires_grad),
        }
        for name, times in seconds.items()
    }


def prepare(backbone: nn.Module, apply: Callable[[nn.Module], nn.Module]) -> nn.Module:
    """A contestant in training mode."""
    torch.manual_seed(0)
    return apply(backbone).train()


def run(model: nn.Module, shape: Shape) -> Tensor:
    """Forward and backward; the gradient of the input stands for the layers below."""
    decoder: Any = model.get_submodule("model")
    size = (1, shape.tokens, decoder.config.hidden_size)
    x_BLD = torch.ones(size, device=shape.device, dtype=shape.dtype, requires_grad=True)
    output: Tensor = decoder(inputs_embeds=x_BLD, use_cache=False).last_hidden_state
    output.backward(torch.ones_like(output))
    for parameter in model.parameters():
        parameter.grad = None
    return output


def step(model: nn.Module, shape: Shape) -> float:
    """Seconds of one forward and backward."""
    synchronise(shape.device)
    start = time.perf_counter()
    run(model, shape)
    synchronise(shape.device)
    return time.perf_counter() - start


def synchronise(device: torch.device) -> None:
    """Wait for the device."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def saved_bytes(model: nn.Module, shape: Shape, frozen_weights: set[int]) -> int:
    """Bytes of distinct storage that autograd keeps for the backward pass, frozen weights left out."""
    seen: dict[int, int] = {}
    weights = {p.data_ptr() for p in model.parameters() if id(p) in frozen_weights}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            seen[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        run(model, shape)
    return sum(seen.values())


def peak_bytes(model: nn.Module, shape: Shape) -> int:
    """Peak memory of a step on a GPU, allocated; 0 elsewhere."""
    if shape.device.type != "cuda":
        return 0
    torch.cuda.reset_peak_memory_stats(shape.device)
    run(model, shape)
    return torch.cuda.max_memory_allocated(shape.device)


if __name__ == "__main__":
    main()
