"""Work counted without numbers is the work that is done."""

from contextlib import AbstractContextManager
from pathlib import Path

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from tests.composing import run_config
from wegeft import models
from wegeft.planning import costs
from wegeft.planning.attached import attached
from wegeft.planning.costs import Costs, Subject
from wegeft.planning.trace import _run, trace
from wegeft.planning.work import Shape

SHAPE = Shape(4, 24, 12)


def plain_attention() -> AbstractContextManager[None]:
    """As on the meta device, which has no fused attention; the counter of flops has no formula for the CPU's."""
    return sdpa_kernel(SDPBackend.MATH)


@pytest.mark.parametrize("method", ["wegeft", "lora", "dora", "red", "full"])
def test_three_blocks_speak_for_all(method: str) -> None:
    config = run_config(f"method={method}")
    skeleton = models.skeleton(config.model)
    with attached(config.method, config.model.head_modules, skeleton) as one:
        found, whole = trace(config.model, one, SHAPE), _run(config.model, one, SHAPE)
    assert found is not None
    assert whole is not None
    (forward, backward, optimiser), saved, _ = whole
    assert found.forward == forward
    assert found.backward == backward
    assert found.optimiser == optimiser
    assert found.saved == saved


def test_flops_are_those_of_a_real_step() -> None:
    config = run_config("method=lora", "method.dropout=0")
    backbone = models.load(config.model, torch.device("cpu")).model
    with (
        attached(config.method, config.model.head_modules, backbone) as method,
        FlopCounterMode(display=False) as real,
        plain_attention(),
    ):
        loss = models.made_up_loss(config.model, method.backbone, SHAPE.sequences, SHAPE.length, SHAPE.labels)
        assert loss is not None
        loss.backward()
    with attached(config.method, config.model.head_modules, models.skeleton(config.model)) as method:
        traced = trace(config.model, method, SHAPE)
    assert traced is not None
    assert (traced.forward + traced.backward).flops == pytest.approx(real.get_total_flops(), rel=0.02)


def test_saved_bytes_are_those_of_a_real_forward() -> None:
    config = run_config("method=red")
    backbone = models.load(config.model, torch.device("cpu")).model
    with attached(config.method, config.model.head_modules, backbone) as method, plain_attention():
        real = _run(config.model, method, SHAPE)
    with attached(config.method, config.model.head_modules, models.skeleton(config.model)) as method:
        traced = trace(config.model, method, SHAPE)
    assert real is not None
    assert traced is not None
    assert traced.saved == pytest.approx(real[1], rel=0.02)


def test_twice_the_examples_are_twice_the_products() -> None:
    config = run_config()
    with attached(config.method, config.model.head_modules, models.skeleton(config.model)) as method:
        small, large = trace(config.model, method, Shape(2, 16, 4)), trace(config.model, method, Shape(4, 16, 8))
    assert small is not None
    assert large is not None
    assert 1.5 < large.forward.flops / small.forward.flops <= 2
    assert large.weights == small.weights


def test_counts_of_other_versions_of_the_libraries_are_counted_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    subject = Subject.of_config(run_config("method=peft"))
    Costs(tmp_path).architecture(subject)
    monkeypatch.setattr("importlib.metadata.version", lambda distribution: f"another {distribution}")
    monkeypatch.setattr(costs, "_code_digest", costs._code_digest.__wrapped__)
    Costs(tmp_path).architecture(subject)
    assert len(list(tmp_path.glob("*.json"))) == 2


def test_methods_leave_the_skeleton_as_it_was(tmp_path: Path) -> None:
    """Counts do not depend on which methods were counted before on the same skeleton."""
    together = Costs(tmp_path / "together")
    for method in ("wegeft", "lora", "red", "peft", "full"):
        subject = Subject.of_config(run_config(f"method={method}"))
        alone = Costs(tmp_path / method)
        found = together.architecture(subject)
        assert found == alone.architecture(subject)
        assert found.trained == found.masters == 4 * int(str(found.counts["trainable"]))  # fp32 needs no copies
        assert together.training(subject, SHAPE) == alone.training(subject, SHAPE)
        assert Costs(tmp_path / "together").training(subject, SHAPE) == alone.training(subject, SHAPE)  # from the disk
