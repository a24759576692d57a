"""Shared factors under data parallelism: two processes compute the gradients of one.

Both kinds run on the CPU with gloo: DDP, where every process holds the factors, and FSDP, where each holds a shard and
the layers that share a pair lie in different units.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor
from torch.nn.parallel import DistributedDataParallel

from tests.methods.tiny import attach, method_from_yaml, perturb, tiny_llama, token_ids
from tests.two_processes import WORLD, run_both
from wegeft.methods.base import Method

CASES = [(kind, name) for kind in ("ddp", "fsdp") for name in ("wegeft", "lora")]


def adapted(name: str) -> tuple[nn.Module, Method]:
    backbone = tiny_llama()
    overrides = ["weight_dropout=0"] if name == "wegeft" else ["dropout=0"]
    method = attach(method_from_yaml(name, *overrides), backbone)
    perturb(method)
    return backbone, method


def mean_loss(backbone: nn.Module, rows: slice) -> Tensor:
    ids = token_ids(batch=4)[rows]
    value: Tensor = backbone(ids, labels=ids).loss
    return value


def expected(name: str) -> dict[str, Tensor]:
    """Gradients of the mean over both halves of the batch, in one process."""
    backbone, method = adapted(name)
    (mean_loss(backbone, slice(0, 2)) + mean_loss(backbone, slice(2, 4))).div(2).backward()
    return {key: p.grad for key, p in method.trainable().items() if p.grad is not None}


def wrapped(backbone: nn.Module, kind: str) -> Any:
    """`backbone` as the processes share it."""
    if kind == "ddp":
        return DistributedDataParallel(backbone)
    mesh = init_device_mesh("cpu", (WORLD,))
    for layer in backbone.get_submodule("model.layers").children():
        fully_shard(layer, mesh=mesh)
    return fully_shard(backbone, mesh=mesh)


def worker(rank: int, folder: str) -> None:
    """One of the processes: its half of the batch, in every case."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=WORLD)
    for kind, name in CASES:
        backbone, method = adapted(name)
        model = wrapped(backbone, kind)  # it must live until the backward pass, which it takes part in
        mean_loss(model, slice(2 * rank, 2 * rank + 2)).backward()
        gradients = {key: p.grad for key, p in method.trainable().items() if p.grad is not None}
        whole = {key: g.full_tensor() if isinstance(g, DTensor) else g for key, g in gradients.items()}
        if rank == 0:
            save_file({key: g.contiguous() for key, g in whole.items()}, Path(folder) / f"{kind}_{name}.safetensors")
    dist.barrier()
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def gradients_folder(once: Callable[[str, Callable[[Path], None]], Path]) -> Path:
    return once("gradients", lambda folder: run_both(worker, folder))


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "name"), CASES)
def test_gradients_equal_those_of_one_process(kind: str, name: str, gradients_folder: Path) -> None:
    found, wanted = load_file(gradients_folder / f"{kind}_{name}.safetensors"), expected(name)
    assert found.keys() == wanted.keys()
    for key, gradient in wanted.items():
        torch.testing.assert_close(found[key], gradient, rtol=0, atol=1e-6)
