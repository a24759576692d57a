"""vLLM as an engine: what it is given and asked, by a stand-in for it, and what is refused before a run trains.

vLLM itself needs a GPU; nothing here shows that it works.
"""

import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.composing import run_config
from tests.evaluation.tiny import tiny_encoder
from tests.tasks.tiny import protocol
from wegeft import experiment
from wegeft.errors import UserError
from wegeft.evaluation.samples import Sample, read_samples
from wegeft.evaluation.vllm_engine.check import check, check_installed
from wegeft.evaluation.vllm_engine.export import FOLDER
from wegeft.methods import build_method
from wegeft.models import skeleton
from wegeft.records.identity import run_id
from wegeft.records.store import read_record
from wegeft.tasks import build_task
from wegeft.tasks.encoding import TextEncoder

STAND_IN = Path(__file__).with_name("stand_in")
SHORT = (
    "training.max_steps=3",
    "training.learning_rate=0.01",
    "evaluation.limit=2",
    "task.test_subsets=[boolq,openbookqa]",
    "runtime.threads=1",
    "runtime.device=cpu",
)
VLLM = ("evaluation.engine=vllm", "task.listed_answers=false")


@pytest.fixture
def arguments(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A process that is started finds the stand-in under the name of vllm; the file it writes its arguments to."""
    about = tmp_path / "site" / "vllm-0.33.0.dist-info"
    about.mkdir(parents=True)
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: vllm\nVersion: 0.33.0\n")
    source = Path(experiment.__file__).parents[1]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(map(str, (STAND_IN, about.parent, source))))
    monkeypatch.setenv("VLLM_STAND_IN_ARGUMENTS", str(tmp_path / "arguments.json"))
    return tmp_path / "arguments.json"


def finished(*overrides: str) -> tuple[dict[str, Any], list[Sample]]:
    """The record and the samples of a short run in the current folder."""
    config = run_config(*SHORT, *overrides)
    experiment.run(config)
    record = read_record(Path(config.records_dir) / f"{run_id(config.plain())}.json")
    return record, read_samples(Path("runs") / record["run_id"] / "samples.jsonl")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("merge", "name"), [("true", "clean"), ("false", "clean"), ("true", "v5")], ids=["merged", "lora", "v5"]
)
def test_the_exported_method_gives_the_answers_of_this_process(
    merge: str, name: str, arguments: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own, expected = finished(f"protocol={name}", VLLM[1])
    monkeypatch.setattr(experiment, "check_vllm", lambda *_: check_installed(None))  # there is no GPU
    record, samples = finished(f"protocol={name}", *VLLM, f"evaluation.merge={merge}", "evaluation.batch_size=auto")
    assert samples == expected
    assert {sample.text for sample in samples} != {""}
    assert record["run_id"] != own["run_id"]
    assert record["evaluation"]["scores"] == own["evaluation"]["scores"]
    assert record["evaluation"]["tokens_generated"] == own["evaluation"]["tokens_generated"]
    assert record["evaluation"]["batch_size"] == 256
    assert not (Path("runs") / record["run_id"] / FOLDER).exists()
    given = json.loads(arguments.read_text())
    assert (given["enable_lora"], given["dtype"], given["max_num_seqs"]) == (merge == "false", "float32", 256)
    assert not given["trust_remote_code"]


def test_hidden_ids_are_left_out() -> None:
    ids = tiny_encoder("v5").encode_prompt("the answer")
    assert tiny_encoder("v5").read_ids(ids) == ids[1:] == tiny_encoder().encode_prompt("the answer")
    hiding = TextEncoder(tiny_encoder().tokenizer, protocol("v5", "mask_pad_by_id=true"))
    assert hiding.read_ids([hiding.pad_id, 5, hiding.pad_id, 6]) == [5, 6]
    with pytest.raises(UserError, match="hides the last token of a prompt"):
        hiding.read_ids([5, hiding.pad_id])


def checked(*overrides: str, device: str = "cuda", always: tuple[str, ...] = VLLM) -> None:
    config = run_config(*always, *overrides)
    method = build_method(config.method)
    method.attach(skeleton(config.model), config.model.head_modules)
    check(config, build_task(config.task), method, torch.device(device))


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        (("method=bitfit",), r"method=bitfit adds biases"),
        (("method=dora", "evaluation.merge=false"), r"merge=false takes a LoRA alone, and method=dora is none"),
        (("model=mini_llama_random", "evaluation.merge=false"), r"reads the backbone from model\.source"),
        (("+task.decodings={drawn:{temperature:0.7}}",), r"answers greedily, and task=commonsense draws"),
        (("task.listed_answers=true",), r"or keeps to listed answers \(task\.listed_answers\)"),
        (("model.quantise=nf4", "model.quantiser=torchao"), r"reads plain weights, and model\.quantise=nf4"),
        (("evaluation.vllm_python=no/such/python",), r"^evaluation\.vllm_python=no/such/python is not an interpreter"),
        ((f"evaluation.vllm_python={sys.executable}",), r"has no vllm: make an environment with `pip install"),
    ],
)
def test_what_vllm_cannot_do_is_refused(overrides: tuple[str, ...], sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        checked(*overrides)


def test_a_task_without_text_is_refused() -> None:
    with pytest.raises(UserError, match=r"generates text, and task=.* asks for none"):
        checked("task=mini_fgvc/birds", always=VLLM[:1])


def test_a_run_on_a_cpu_is_refused_before_it_trains(arguments: Path) -> None:
    assert not arguments.exists()
    with pytest.raises(UserError, match=r"evaluation\.engine=vllm needs a CUDA device, and this run is on the cpu"):
        experiment.run(run_config(*SHORT, *VLLM))
    assert not Path("runs").exists()
    checked("method=wegeft", "evaluation.merge=false")  # with a GPU it would go on


def test_the_engine_of_before_leaves_the_identity_alone() -> None:
    plain = run_config().plain()
    sizes = {key: plain["evaluation"][key] for key in ("batch_size", "merge", "limit")}
    before = {**plain, "evaluation": sizes}
    assert run_id(before) == run_id(plain)
    assert run_id(run_config(VLLM[0]).plain()) != run_id(plain)
    assert run_id(run_config("evaluation.vllm_python=python3").plain()) == run_id(plain)
