"""What a batch is after it was moved: itself on a CPU, the same values on a GPU, without a wait."""

import pytest
import torch

from wegeft.training.transfer import batch_to_device, to_device

BATCH = {"input_ids": torch.arange(6).view(2, 3), "pixels": torch.arange(4, dtype=torch.uint8)}


def test_on_a_cpu_a_batch_is_not_copied() -> None:
    moved = batch_to_device(BATCH, torch.device("cpu"))
    assert moved.keys() == BATCH.keys()
    assert all(moved[name] is tensor for name, tensor in BATCH.items())


def test_a_gpu_copies_from_page_locked_memory_without_a_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[tuple[str, object]] = []
    tensor = BATCH["input_ids"]

    class Pinned:
        def to(self, device: torch.device, non_blocking: bool) -> torch.Tensor:
            calls.append(("to", (device.type, non_blocking)))
            return tensor

    def pin(self: torch.Tensor) -> Pinned:
        calls.append(("pin", self is tensor))
        return Pinned()

    monkeypatch.setattr(torch.Tensor, "pin_memory", pin)
    assert to_device(tensor, torch.device("cuda")) is tensor
    assert calls == [("pin", True), ("to", ("cuda", True))]


def test_only_what_lies_in_host_memory_is_locked() -> None:
    elsewhere = torch.ones(2, device="meta")
    assert to_device(elsewhere, torch.device("meta")) is elsewhere


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")
def test_values_arrive_on_a_gpu() -> None:
    moved = batch_to_device(BATCH, torch.device("cuda"))
    for name, tensor in BATCH.items():
        assert moved[name].is_cuda
        assert torch.equal(moved[name].cpu(), tensor)
