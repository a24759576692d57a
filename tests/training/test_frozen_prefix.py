"""The frozen part of a network: found where nothing trained or random lies, and a run that keeps it is the same run."""

from pathlib import Path

import pytest
import safetensors.torch
import torch

from tests.composing import run_config
from tests.tasks.pictures import picture_run, write_pictures
from wegeft import experiment, models
from wegeft.methods import build_method
from wegeft.records.identity import run_id
from wegeft.records.store import read_record
from wegeft.training import adapter_file
from wegeft.training.frozen_prefix import FrozenPrefix, find_prefix

LATE = ("+model.architecture.depth=4", "model.drop_path=0.0")
LATE_LAYERS = "method.target_modules=[blocks.2.attn.proj,blocks.3.attn.proj]"
LATE_BIASES = "method.target_modules=[blocks.2.attn.qkv]"


def adapted(*overrides: str) -> torch.nn.Module:
    """A vision transformer of four blocks with a method in it, in evaluation mode."""
    command = [word for word in picture_run(Path("nowhere"), *overrides) if "depth" not in word]
    config = run_config(*command, LATE[0])
    torch.manual_seed(0)
    model = models.load(config.model, torch.device("cpu")).model
    build_method(config.method).attach(model, config.model.head_modules)
    return model


def prefix_of(model: torch.nn.Module) -> FrozenPrefix | None:
    torch.manual_seed(1)
    return find_prefix(model, torch.randn(2, 3, 32, 32))


@pytest.mark.parametrize(
    ("overrides", "name"),
    [
        (("method=linear_probe", LATE[1]), "head"),
        (("method=none", LATE[1]), "head"),
        (("method=wegeft", LATE_LAYERS, LATE[1]), "blocks.2"),
        (("method=wegeft", LATE_LAYERS, "method.form=generated", "method.weight_dropout=0.5", LATE[1]), "blocks.2"),
        (("method=dora", LATE_LAYERS, "method.dropout=0.5", LATE[1]), "blocks.2"),
        (("method=bitfit", LATE_BIASES, LATE[1]), "blocks.2"),
        (("method=ssf", "method.target_modules=[norm]", LATE[1]), "norm"),
        (("method=peft", "method.peft_type=LORA", "method.options={r:2}", LATE_LAYERS, LATE[1]), "blocks.2"),
        (("method=linear_probe", "model.drop_path=0.3"), "blocks.1"),  # the first block is never dropped
        (("method=linear_probe", LATE[1], "+model.architecture.proj_drop_rate=0.1"), None),
    ],
)
def test_the_prefix_ends_where_something_is_trained_or_random(overrides: tuple[str, ...], name: str | None) -> None:
    found = prefix_of(adapted(*overrides))
    assert (found and found.name) == name


@pytest.mark.parametrize("method", ["wegeft", "full", "ssf", "vpt", "vpt_shallow", "bitfit", "red"])
def test_there_is_none_before_the_first_block(method: str) -> None:
    assert prefix_of(adapted(f"method={method}", LATE[1])) is None


def test_looking_for_it_leaves_everything_as_it_was() -> None:
    model = adapted("method=wegeft", LATE_LAYERS, "model.drop_path=0.3").train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    images_BCHW, state = torch.randn(2, 3, 32, 32), torch.get_rng_state()
    find_prefix(model, images_BCHW)
    assert torch.equal(torch.get_rng_state(), state)
    assert model.training
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert not any(module._forward_pre_hooks for module in model.modules())


def test_a_network_whose_end_needs_its_beginning_has_none() -> None:
    class Skipping(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.blocks = torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.Linear(4, 4))
            self.head = torch.nn.Linear(4, 2)

        def forward(self, x_BD: torch.Tensor) -> torch.Tensor:
            result_BK: torch.Tensor = self.head(self.blocks(x_BD) + x_BD)
            return result_BK

    model = Skipping().requires_grad_(False)
    model.head.requires_grad_(True)
    found = find_prefix(model, torch.randn(2, 4))
    assert (found and found.name) == "head"  # the sum is part of what is kept; behind the blocks nothing else comes in
    model.blocks[1].requires_grad_(True)
    assert find_prefix(model, torch.randn(2, 4)) is None  # the sum needs what comes before the first block


def outcome(root: Path, *overrides: str) -> tuple[dict[str, torch.Tensor], bytes, dict[str, object]]:
    """Adapter, samples and remarks of a run without augmentation."""
    command = [word for word in picture_run(root, *overrides) if "depth=2" not in word]
    config = run_config(*command, *LATE, "task.train_transform.crop_at=center", "task.train_transform.flip=0.0")
    experiment.run(config)
    identity = run_id(config.plain())
    folder = Path(config.output_dir) / identity
    adapter = safetensors.torch.load_file(folder / "adapter.safetensors")
    record = read_record(Path(config.records_dir) / f"{identity}.json")
    return adapter, (folder / "samples.jsonl").read_bytes(), record["data"]["remarks"]


@pytest.mark.parametrize(
    ("overrides", "name"),
    [
        (("method=linear_probe",), "head"),
        (("method=wegeft", LATE_LAYERS), "blocks.2"),
        (("method=lora", LATE_LAYERS, "training.micro_batch_size=3"), "blocks.2"),
    ],
)
def test_a_run_that_keeps_it_ends_with_the_same_bytes(tmp_path: Path, overrides: tuple[str, ...], name: str) -> None:
    root = write_pictures(tmp_path)
    kept, kept_samples, remarks = outcome(root, *overrides)
    again, again_samples, others = outcome(root, *overrides, "training.prefix_cache_gb=0", "force=true")
    assert (remarks["computed_once_up_to"], others.get("computed_once_up_to")) == (name, None)
    assert kept.keys() == again.keys()
    assert all(torch.equal(value, again[key]) for key, value in kept.items())
    assert kept_samples == again_samples


def test_a_run_that_goes_on_after_a_kill_ends_with_the_same_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root, words = write_pictures(tmp_path), ("method=wegeft", LATE_LAYERS, "training.checkpoint_every=4")
    whole, samples, _ = outcome(root, *words)

    class KilledError(Exception):
        pass

    def kill(*_arguments: object) -> None:
        raise KilledError

    with monkeypatch.context() as patch:
        patch.setattr(adapter_file, "save", kill)  # all steps are done and only the checkpoints are there
        with pytest.raises(KilledError):
            outcome(root, *words, "force=true")
    checkpoints = sorted(Path("runs").glob("*/checkpoints/step-*"))
    assert len({path.stem for path in checkpoints}) == 2
    for path in [path for path in checkpoints if path.stem == checkpoints[-1].stem]:
        path.unlink()  # so that the last steps are taken again
    again, again_samples, _ = outcome(root, *words, "force=true")
    assert all(torch.equal(value, again[key]) for key, value in whole.items())
    assert samples == again_samples


def test_augmentation_and_too_little_memory_keep_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = write_pictures(tmp_path)
    _, _, remarks = outcome(root, "method=linear_probe", "training.prefix_cache_gb=1e-6")
    assert "computed_once_up_to" not in remarks
    assert "everything before head is frozen, but its output for 24 images takes" in capsys.readouterr().err
    config = run_config(*picture_run(root, "method=linear_probe", "model.drop_path=0.0"))
    experiment.run(config)
    record = read_record(Path(config.records_dir) / f"{run_id(config.plain())}.json")
    assert "computed_once_up_to" not in record["data"]["remarks"]
