"""Our test sets from lm-eval's own command line: the same questions, answers and numbers as in a run."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from lm_eval.tasks import TaskManager
from transformers import AutoModelForCausalLM, AutoTokenizer

from tests.tasks.tiny import SUBSETS, protocol, row, text_task, write_data
from wegeft import evaluation
from wegeft.errors import UserError
from wegeft.evaluation.compare import is_correct
from wegeft.evaluation.config import EvaluationConfig
from wegeft.evaluation.decoding import DecodingConfig
from wegeft.evaluation.evaluate import evaluate_text
from wegeft.evaluation.lm_functions import questions
from wegeft.evaluation.lm_task import METRIC, lm_task
from wegeft.evaluation.samples import read_samples
from wegeft.tasks.encoding import TextEncoder
from wegeft.tasks.text import TextTask

MATH = ("AQuA", "gsm8k", "mawps", "SVAMP", "AddSub", "MultiArith", "SingleEq")
FOLDER = Path(evaluation.__file__).parent / "lm_tasks"
LIMIT = 5


def load(name: str, **metadata: Any) -> Any:
    """The task `name` as lm-eval loads it from our folder alone."""
    manager = TaskManager(include_path=str(FOLDER), include_defaults=False, metadata=metadata)
    return manager.load([name])["tasks"][name]


ANSWERS = [
    ["the correct answer is true the correct answer is false"],
    ["A is 3, so the answer is (C), 12."],
    ["nothing"],
]


@pytest.mark.parametrize("subset", MATH)
def test_a_yaml_task_of_arithmetic_is_the_task_of_a_run(subset: str, real_data: Path) -> None:
    root = real_data / "llm_adapters"
    assert_same(subset, text_task("task=math10k", "scale=paper", f"data.root={root}"), data_root=str(root))


@pytest.mark.parametrize("subset", ["gsm8k", "math500"])
def test_a_yaml_task_after_metamath_reads_and_compares_as_a_run(subset: str, real_data: Path) -> None:
    task = text_task("task=metamath", "scale=paper", "protocol=clean", f"data.root={real_data}")
    name, document = f"wegeft_metamath_{subset}", {"gold": "12"}
    theirs = load(name, data_root=str(real_data))
    assert [d["prompt"] for d in theirs.test_docs()] == [e.prompt for e in task.test_examples()[subset]]
    rule, comparison = task.rules(subset)["clean"]
    for answer in ("#### 12", "\\boxed{\\frac{24}{2}}", "The answer is: 12", "nothing"):
        (extracted,) = next(f().apply([[answer]], [document]) for f in theirs._filters[0].filters)
        assert extracted == rule.extract(answer)
        assert theirs.process_results(document, [extracted]) == {
            METRIC: float(is_correct(comparison, extracted, document["gold"]))
        }


@pytest.mark.parametrize("subset", SUBSETS)
def test_a_yaml_task_is_the_task_of_a_run(subset: str) -> None:
    assert_same(subset, text_task(), scale="mini")


def assert_same(subset: str, task: TextTask, **metadata: str) -> None:
    """lm-eval loads from YAML what a run builds: documents, prompts, limits, rules and comparison."""
    ours = lm_task(
        f"wegeft_{subset}",
        task.test_examples()[subset],
        task.rules(subset),
        task.max_new_tokens,
        DecodingConfig(),
    )
    theirs = load(f"wegeft_{subset}", **metadata)
    assert list(theirs.test_docs()) == list(ours.test_docs())
    document = ours.test_docs()[0]
    assert theirs.doc_to_text(document) == ours.doc_to_text(document)
    limits = [task.config.generation_kwargs["max_gen_toks"] for task in (theirs, ours)]
    assert limits[0] == limits[1]
    asked = [document] * len(ANSWERS)
    for one, other in zip(theirs._filters, ours._filters, strict=True):
        assert one.name == other.name
        extracted = next(f().apply(ANSWERS, asked) for f in one.filters)
        readings = next(f().apply(ANSWERS, asked) for f in other.filters)
        assert [(answer,) for answer in extracted] == [reading.extracted for reading in readings]
        for answer, reading in zip(extracted, readings, strict=True):
            assert theirs.process_results(document, [answer]) == ours.process_results(document, [reading])


def test_the_data_root_comes_from_the_environment_or_the_metadata(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = str(write_data(tmp_path, [row("is rain wet?")]))
    monkeypatch.setenv("WEGEFT_DATA_ROOT", root)
    assert questions("commonsense", "piqa")["test"]["uid"] == ["piqa/test/0"]
    monkeypatch.delenv("WEGEFT_DATA_ROOT")
    assert questions("commonsense", "piqa", data_root=root)["test"]["gold"] == ["true"]
    with pytest.raises(UserError, match=r"data\.root is not set"):
        questions("commonsense", "piqa")


@pytest.mark.slow
def test_the_command_line_of_lm_eval_gives_our_numbers(real_data: Path, tmp_path: Path) -> None:
    checkpoint, root = real_data / "weights" / "TinyStories-656K_fp32", real_data / "llm_adapters"
    subsets = ("boolq", "openbookqa")
    command = [sys.executable, "-m", "lm_eval", "--model", "hf", "--device", "cpu", "--batch_size", "2"]
    command += ["--model_args", f"pretrained={checkpoint},dtype=float32", "--include_path", str(FOLDER)]
    command += ["--tasks", ",".join(f"wegeft_{subset}" for subset in subsets), "--limit", str(LIMIT)]
    command += ["--log_samples", "--output_path", str(tmp_path / "theirs")]
    environment = os.environ | {"WEGEFT_DATA_ROOT": str(root)}
    subprocess.run(command, check=True, capture_output=True, env=environment, cwd=tmp_path)

    task = text_task("scale=paper", f"data.root={root}", f"task.test_subsets=[{','.join(subsets)}]")
    encoder = TextEncoder(AutoTokenizer.from_pretrained(checkpoint), protocol("clean"))
    config = EvaluationConfig(batch_size=4, merge=False, limit=LIMIT)
    found = evaluate_text(AutoModelForCausalLM.from_pretrained(checkpoint), encoder, task, config, tmp_path)
    ours = {sample.uid: sample for sample in read_samples(tmp_path / "samples.jsonl")}

    theirs = {}
    for path in (tmp_path / "theirs").rglob("samples_*.jsonl"):
        for line in path.read_text().splitlines():
            entry = json.loads(line)
            theirs[entry["doc"]["uid"]] = entry
    assert set(theirs) == set(ours)
    for uid, entry in theirs.items():
        assert entry["resps"] == [[ours[uid].text]]
        assert entry["filtered_resps"] == [str(ours[uid].extracted)]  # lm-eval's log writes None as "None"
        assert entry["accuracy"] == ours[uid].score
    (results,) = (tmp_path / "theirs").rglob("results_*.json")
    scores = json.loads(results.read_text())["results"]
    for subset in subsets:
        assert scores[f"wegeft_{subset}"]["accuracy,official"] == found.scores[subset].value
