"""Compiled blocks compute the same and leave no trace. The graphs run eagerly: generating code takes minutes."""

import sysconfig
from pathlib import Path

import pytest
import torch
from torch import nn

from tests.training.test_loop import recipe, tiny_llama, trained
from wegeft.errors import UserError
from wegeft.training.regional import check_compiler, compiled_blocks, repeated_blocks


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf:UserWarning")
def test_blocks_compute_the_same_for_any_length() -> None:
    torch.compiler.reset()
    model = tiny_llama().eval()
    batches = [torch.arange(3, 3 + length)[None] for length in (5, 9, 14)]
    with torch.no_grad():
        plain = [model(ids_BL).logits for ids_BL in batches]
        with compiled_blocks(model, backend="eager"):
            compiled = [model(ids_BL).logits for ids_BL in batches]
    for ours, reference in zip(compiled, plain, strict=True):
        torch.testing.assert_close(ours, reference)
    assert all("forward" not in vars(module) for module in model.modules())


@pytest.mark.parametrize("lacking", ["no-such-compiler", "Python.h"])
def test_a_machine_that_cannot_compile_says_so_in_one_sentence(
    lacking: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compiler = tmp_path / "c++"
    compiler.touch(mode=0o755)
    header = tmp_path / "Python.h"
    header.touch()
    monkeypatch.setenv("CXX", str(compiler))
    monkeypatch.setattr(sysconfig, "get_path", lambda _: str(tmp_path))
    check_compiler(torch.device("cpu"), "training.compile=true")
    if lacking == header.name:
        header.unlink()
    else:
        monkeypatch.setenv("CXX", lacking)
    with pytest.raises(UserError, match=rf"^training\.compile=true: .* and {lacking} is not there"):
        check_compiler(torch.device("cpu"), "training.compile=true")
    check_compiler(torch.device("cuda"), "training.compile=true")


def test_decoder_layers_are_the_blocks() -> None:
    model = tiny_llama()
    assert repeated_blocks(model) == list(model.model.layers)
    with pytest.raises(UserError, match=r"training\.compile"):
        repeated_blocks(nn.Linear(2, 2))


@pytest.mark.filterwarnings("ignore:.*torch.jit.script_method:DeprecationWarning")  # of the compiler's own imports
def test_the_switch_changes_no_number() -> None:
    with torch.compiler.set_stance("force_eager"):
        compiled, _ = trained(recipe("training.compile=true"))
    plain, _ = trained(recipe())
    for name, value in plain.items():
        torch.testing.assert_close(compiled[name], value)
