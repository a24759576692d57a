"""What is refused before the weights of the backbone are loaded, in one sentence, and leaves no run behind."""

import gzip
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save

from tests.composing import run_config
from tests.tasks.pictures import picture_run, write_pictures
from tests.tasks.tiny import SUBSETS, row
from wegeft import experiment, models
from wegeft.clusters.mode import clusters
from wegeft.errors import UserError
from wegeft.models.transformers_source import resolve_source
from wegeft.records.identity import run_id
from wegeft.training import adapter_file

MATH_SETS = ("AQuA", "gsm8k", "mawps", "SVAMP", "AddSub", "MultiArith", "SingleEq")
QUESTION = {"question": "1 + 1?", "answer": "#### 2"}
PROBLEM = {"problem": "1 + 1?", "solution": "It is $\\boxed{2}$."}
FILES: dict[str, dict[str, list[Any]]] = {
    "commonsense": {f"dataset/{s}/{split}.json": [row("Is rain wet?")] for s in SUBSETS for split in ("train", "test")},
    "math10k": {f"dataset/{s}/test.json": [row("1 + 1?", "B" if s == "AQuA" else "2")] for s in MATH_SETS}
    | {"ft-training_set/math_10k.json": [row("1 + 1?", "2")]},
    "metamath": {
        "metamath/MetaMathQA-395K.json": [{"query": "?", "response": "2\nThe answer is: 2", "type": "GSM_Rephrased"}],
        "math/test/gsm8k_test_original.jsonl": [QUESTION],
        "math/test/MATH_test5000.jsonl.gz": [PROBLEM],
        "math/test/MATH500.jsonl": [PROBLEM],
    },
    "code": {
        "code_feedback/CodeFeedback-Filtered-Instruction.jsonl": [{"query": "Add.", "answer": "```python\n1 + 1\n```"}],
        "code/HumanEval.jsonl.gz": [
            {"task_id": "HumanEval/0", "prompt": "def f():\n", "test": "def check(f):\n    assert f() == 1\n"}
            | {"entry_point": "f", "canonical_solution": "    return 1\n"}
        ],
        "code/mbpp.jsonl.gz": [
            {"task_id": 1, "text": "Add.", "test_setup_code": "", "test_list": ["assert f() == 1"]}
            | {"code": "def f():\n    return 1\n"}
        ],
    },
    "instruction": {
        "ultrafeedback/train.json": [{"instruction": "Say 1.", "output": "1"}],
        "alpaca_eval/text_davinci_003_outputs.json": [{"instruction": "Say 1.", "output": "1"}],
    },
    "wizardlm": {
        "wizardlm/train.jsonl": [{"instruction": "Say 1.", "output": "1"}],
        "mt_bench/question.jsonl": [{"question_id": 81, "category": "math", "turns": ["1 + 1?", "And 2 + 2?"]}],
    },
}
"""Data on which the run of each task gets as far as the weights, by file."""
PATHS = [(task, name) for task, files in FILES.items() for name in (next(iter(files)), list(files)[-1])]
SMALL = ("scale=paper", "model=mini_llama", "protocol=clean", "training=mini", "runtime.threads=1")
SPECIAL = {
    "code": ("task.allow_code_execution=unsandboxed",),
    "math10k": ("task.sources.paper.require_expected=false",),
}


class LoadedError(Exception):
    """The weights would have been loaded now."""


@pytest.fixture(autouse=True)
def _no_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    def load(*_: object) -> None:
        raise LoadedError

    monkeypatch.setattr(models, "load", load)
    monkeypatch.setattr(experiment, "collect_provenance", lambda _: {})  # takes longer than all the rest


def refusal(*overrides: str) -> str:
    """What a run says that is refused before the weights are loaded; checks that nothing is left of it."""
    config = run_config(*overrides)
    with pytest.raises(UserError) as refused:
        experiment.run(config)
    assert not list(Path().glob("runs/*"))
    assert not Path("results").exists()
    said = str(refused.value)
    assert "\n" not in said
    return said


def write_rows(path: Path, rows: list[Any]) -> None:
    text = "".join(f"{json.dumps(row)}\n" for row in rows) if ".jsonl" in path.suffixes else json.dumps(rows)
    write_text(path, text)


def write_text(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())


def data_of(task: str, root: Path) -> tuple[str, ...]:
    """The command line of a run of `task` on whole data below `root`."""
    for name, rows in FILES[task].items():
        write_rows(root / name, rows)
    return (*SMALL, f"task={task}", f"data.root={root}", "task.max_new_tokens=16", *SPECIAL.get(task, ()))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A local model to be damaged."""
    copied: Path = shutil.copytree(resolve_source(run_config().model), tmp_path / "model")
    return copied


@pytest.mark.parametrize("task", FILES)
def test_whole_data_gets_as_far_as_the_weights(tmp_path: Path, task: str) -> None:
    with pytest.raises(LoadedError):
        experiment.run(run_config(*data_of(task, tmp_path / "data")))


@pytest.mark.parametrize("content", ['[{"instruction": "a', "[]", "[{}]"], ids=["cut", "empty", "no_fields"])
@pytest.mark.parametrize(("task", "name"), PATHS)
def test_broken_data_is_refused(tmp_path: Path, task: str, name: str, content: str) -> None:
    overrides, path = data_of(task, tmp_path / "data"), tmp_path / "data" / name
    write_text(path, content[1:].rstrip("]") if ".jsonl" in path.suffixes else content)
    assert str(path) in refusal(*overrides)


DAMAGED = gzip.compress(b"")[:10] + b"\xff" * 20
"""A whole header of gzip, and a body that is none."""


@pytest.mark.parametrize(("task", "name"), PATHS)
def test_damaged_data_is_refused(tmp_path: Path, task: str, name: str) -> None:
    overrides, path = data_of(task, tmp_path / "data"), tmp_path / "data" / name
    path.write_bytes(DAMAGED if path.suffix == ".gz" else b'["\xff"]')
    assert str(path) in refusal(*overrides)


def test_damaged_sentences_are_refused(tmp_path: Path) -> None:
    overrides = ("task=glue/rte", "model=mini_llama_classifier", "training=mini", f"data.root={tmp_path / 'data'}")
    for split in ("train", "dev"):
        write_text(tmp_path / "data" / "glue" / "RTE" / f"{split}.tsv.gz", "index\ta\tb\tlabel\n0\ta\tb\tentailment\n")
    path = tmp_path / "data" / "glue" / "RTE" / "dev.tsv.gz"
    path.write_bytes(DAMAGED)
    assert f"data file {path} cannot be read" in refusal(*overrides)


def test_a_damaged_split_file_is_refused(tmp_path: Path) -> None:
    overrides = picture_run(write_pictures(tmp_path / "data", {"train": 1, "val": 1, "test": 1}))
    path = tmp_path / "data" / "fgvc_splits" / "cub" / "test.json"
    path.unlink()
    path.with_name("test.json.gz").write_bytes(DAMAGED)
    assert f"data file {path}.gz cannot be read" in refusal(*overrides)


def test_broken_sentences_are_refused(tmp_path: Path) -> None:
    overrides = ("task=glue/rte", "model=mini_llama_classifier", "training=mini", f"data.root={tmp_path / 'data'}")
    for split, line in (("train", "0\tIs it?\tIt is.\tentailment"), ("dev", "0\tIs it?\tIt is.")):
        write_text(tmp_path / "data" / "glue" / "RTE" / f"{split}.tsv", f"index\ta\tb\tlabel\n{line}\n")
    assert "dev.tsv, row rte/dev/0 has 3 columns and needs 4" in refusal(*overrides)


@pytest.mark.parametrize(("content", "words"), [("{", "cannot be read"), ("[]", "no object"), ("{}", "no object")])
def test_a_broken_split_file_is_refused(tmp_path: Path, content: str, words: str) -> None:
    overrides = picture_run(write_pictures(tmp_path / "data", {"train": 1, "val": 1, "test": 1}))
    (tmp_path / "data" / "fgvc_splits" / "cub" / "test.json").write_text(content)
    assert words in refusal(*overrides)


def test_an_empty_list_of_images_is_refused(tmp_path: Path) -> None:
    lists = tmp_path / "data" / "vtab-1k" / "eurosat"
    for split in ("train800", "val200", "train800val200", "test"):
        write_text(lists / f"{split}.txt", "")
    said = refusal("task=vtab1k/eurosat", f"data.root={tmp_path / 'data'}", "model.weights=random")
    assert "task=vtab1k has no images in eurosat/train800val200" in said


@pytest.mark.parametrize("content", [None, '{"model": ', "{}", "[]"])
def test_a_tokenizer_that_cannot_be_read_is_refused(folder: Path, content: str | None) -> None:
    (folder / "tokenizer.json").unlink()
    if content is not None:
        (folder / "tokenizer.json").write_text(content)
    assert f"model.source={folder} " in refusal("model=local_llama", f"model.source={folder}")


def test_a_prompt_that_is_too_long_is_refused() -> None:
    assert "row boolq/test/0: its prompt is" in refusal("protocol.max_length=8", "protocol.truncation=error")


@pytest.mark.parametrize("named", [False, True])
@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "does not exist|is not a file"),
        (b"", "is not a safetensors file"),
        (b"\xff" * 40, "is not a safetensors file"),
        (save({"other": torch.zeros(1)}), "The adapter does not fit this method and backbone: it lacks"),
    ],
    ids=["missing", "empty", "broken", "another"],
)
def test_an_adapter_that_cannot_be_taken_is_not_evaluated(content: bytes | None, words: str, named: bool) -> None:
    own = Path("runs") / run_id(run_config("mode=evaluate").plain()) / adapter_file.NAME
    path = Path("mine.safetensors") if named else own
    if content is not None:
        path.parent.mkdir(exist_ok=True, parents=True)
        path.write_bytes(content)
    with pytest.raises(UserError, match=words):
        experiment.evaluate(run_config("mode=evaluate", *([f"adapter={path}"] if named else [])))
    assert [kept.name for kept in Path("runs").glob("*/*")] == ([] if named or content is None else [own.name])
    assert not Path("results").exists()


@pytest.mark.parametrize("override", ["clusters.images=[birds/test/99]", "clusters.class_name=ostrich", "seed=7"])
def test_what_is_not_there_is_not_looked_at(override: str) -> None:
    few = ("task=mini_fgvc/birds", "task.source.pictures={train: 32, val: 8, test: 24}")
    with pytest.raises(UserError):
        clusters(run_config("mode=clusters", *few, override))


@pytest.mark.parametrize("key", ["output_dir", "records_dir"])
def test_a_folder_that_cannot_be_written_to_is_refused(key: str) -> None:
    Path("file").touch()
    assert refusal(f"{key}=file/one").startswith(f"{key}=file/one cannot be written to (Not a directory)")
