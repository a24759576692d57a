"""The whole mode on a tiny backbone: every contestant of the shipped experiment is timed, written, read and tabled."""

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from transformers import AutoTokenizer

from wegeft import experiment
from wegeft.cli import main
from wegeft.efficiency import mode
from wegeft.efficiency.figures import COMPILED
from wegeft.efficiency.report import read_report
from wegeft.errors import UserError
from wegeft.exits import STORAGE
from wegeft.tables.steps import print_report, step_tables

TINY = (
    "+experiment=efficiency",
    "model=llama2_7b",
    "model.dtype=float32",
    "model.architecture.hidden_size=64",
    "model.architecture.intermediate_size=96",
    "model.architecture.num_attention_heads=4",
    "model.architecture.num_key_value_heads=2",
    "model.architecture.vocab_size=40",
    "efficiency.tokens=6",
    "efficiency.rounds=2",
)
LORA, WEGEFT, OFFICIAL = "lora r=16", "wegeft r=64", "official v3 r=64"


@pytest.fixture(scope="module")
def folder(once: Callable[[str, Callable[[Path], None]], Path]) -> Path:
    """The folder that a run of the mode has written its report to."""

    def measure(folder: Path) -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sys, "argv", ["run.py", *TINY, f"efficiency.folder={folder}", f"output_dir={folder}/runs"])
            main()

    return once("efficiency", measure)


def test_every_contestant_is_measured(folder: Path) -> None:
    (path,) = folder.glob("*.json")
    report = read_report(path)
    assert path.stem == "llama2_7b_1_layers_6_tokens_float32_cpu"
    assert {"frozen", LORA, WEGEFT, OFFICIAL, "dora r=16", "peft vera r=1024", "red"} <= set(report.contestants)
    for figures in report.contestants.values():
        assert len(figures.step_seconds) == len(figures.evaluation_seconds) == 2
        assert min(*figures.step_seconds, *figures.evaluation_seconds) > 0
    assert report.contestants[LORA].trainable == report.contestants["peft lora r=16"].trainable
    assert report.contestants[WEGEFT].trainable == 64 * 2 * (4 * 64 + 96)  # q, k, v, up at width 64, down at 96
    assert report.contestants[WEGEFT].trainable == report.contestants[OFFICIAL].trainable
    assert report.contestants[WEGEFT].adapter_bytes == 4 * report.contestants[WEGEFT].trainable
    assert report.contestants["frozen"].trainable == 0


def test_costs_over_another_kernel_stand_in_a_report_of_their_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(experiment, "IS_FASTER", True)
    words = (*TINY, "runtime.linear_kernel=auto", f"efficiency.folder={tmp_path}", f"output_dir={tmp_path}/runs")
    monkeypatch.setattr(sys, "argv", ["run.py", *words, 'efficiency.only=["red"]'])
    main()
    report = read_report(tmp_path / "llama2_7b_1_layers_6_tokens_float32_cpu_onednn.json")
    assert report.linear_kernel == "onednn"
    (table,), _ = step_tables(tmp_path)
    assert "Linear layers of the backbone: by onednn" in table.about


def test_no_tokenizer_is_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def asked(*_: object) -> None:
        raise AssertionError("costs need no text")

    monkeypatch.setattr(AutoTokenizer, "from_pretrained", asked)
    words = (*TINY, f"efficiency.folder={tmp_path}", f"output_dir={tmp_path}/runs", 'efficiency.only=["red"]')
    monkeypatch.setattr(sys, "argv", ["run.py", *words])
    main()
    assert list(tmp_path.glob("*.json"))


def test_operations_are_those_of_the_frozen_backbone(folder: Path) -> None:
    (path,) = folder.glob("*.json")
    linear = 64 * (64 + 32 + 32 + 64) + 3 * 64 * 96  # q, k, v, o with two key-value heads; gate, up, down
    floor = 2 * 2 * 6 * linear  # forward and backward to the input, two operations a multiply-add
    assert floor <= read_report(path).model_flops < 1.2 * floor  # and attention


def test_the_rate_of_a_machine_that_was_busy_once_is_that_of_the_other_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rates = [7e9, 2e9]
    monkeypatch.setattr(mode, "peak_flops", lambda *_: rates.pop())
    words = (*TINY, f"efficiency.folder={tmp_path}", f"output_dir={tmp_path}/runs", 'efficiency.only=["red"]')
    monkeypatch.setattr(sys, "argv", ["run.py", *words])
    main()
    (path,) = tmp_path.glob("*.json")
    assert rates == []
    assert read_report(path).peak_flops == 7e9


def test_the_operations_of_a_method_are_counted(folder: Path) -> None:
    (path,) = folder.glob("*.json")
    contestants = read_report(path).contestants
    floor = contestants["frozen"].step_flops
    assert floor == read_report(path).model_flops
    # Two small products in forward; their gradients to the input, and to the factors, in backward.
    factors = contestants[LORA].trainable
    assert contestants[LORA].step_flops == contestants["peft lora r=16"].step_flops == floor + 3 * 2 * 6 * factors
    (table,), _ = step_tables(folder)
    column = [heading.text for heading in table.headings].index("operations / floor")
    texts = {row.label: row.cells[column].text for row in table.blocks[0].rows}
    assert texts["frozen"] == "1.000"
    assert texts[LORA] == f"{1 + 36 * factors / floor:.3f}"


def test_memory_kept_for_the_backward_pass_grows_with_the_method(folder: Path) -> None:
    (path,) = folder.glob("*.json")
    contestants = read_report(path).contestants
    assert contestants["frozen"].saved_bytes < contestants[WEGEFT].saved_bytes < contestants[OFFICIAL].saved_bytes


def test_table_shows_ratios_of_medians(folder: Path) -> None:
    (table,), problems = step_tables(folder)
    assert problems == []
    texts = {row.label: dict(zip(table.headings, row.cells, strict=True)) for row in table.blocks[0].rows}
    ratios = {label: {h.text: cell.text for h, cell in cells.items()} for label, cells in texts.items()}
    assert ratios["frozen"]["time / floor"] == ratios["peft lora r=16"]["time ×"] == "1.000"
    assert ratios[LORA]["parameters ×"] == "1.000"
    assert ratios["frozen"]["95 % of it"] == ratios["peft lora r=16"]["95 % of that"] == ""
    low, high = map(float, ratios[LORA]["95 % of it"].split("–"))
    assert low - 0.005 <= float(ratios[LORA]["time / floor"]) <= high + 0.005
    assert table.commands[0].startswith("python run.py +experiment=efficiency")


def test_no_figure_is_cut_on_a_narrow_terminal(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (path,) = folder.glob("*.json")
    monkeypatch.setenv("COLUMNS", "80")
    print_report(read_report(path), path)
    shown = capsys.readouterr().out
    (table,), _ = step_tables(folder)
    columns = [
        i for i, heading in enumerate(table.headings) if heading.text in ("time / floor", "95 % of it", "memory ×")
    ]
    for row in table.blocks[0].rows:
        assert all(row.cells[i].text in shown for i in columns)
    assert max(map(len, shown.splitlines()[:-1])) <= 80


def test_a_broken_report_is_named_and_leaves_the_others(folder: Path, tmp_path: Path) -> None:
    (path,) = folder.glob("*.json")
    (tmp_path / path.name).write_bytes(path.read_bytes())
    plain = json.loads(path.read_text())
    (tmp_path / "bad.json").write_text(json.dumps(plain | {"tokens": "many"}))
    tables, problems = step_tables(tmp_path)
    assert len(tables) == 1
    assert [problem for problem in map(str, problems) if "bad.json" in problem and "tokens" in problem]


def test_a_second_report_of_the_same_thing_is_named_and_replaces_no_table(folder: Path, tmp_path: Path) -> None:
    (path,) = folder.glob("*.json")
    for name in (path.name, "again.json"):
        (tmp_path / name).write_bytes(path.read_bytes())
    tables, (problem,) = step_tables(tmp_path)
    assert len(tables) == 1
    assert f"again.json: these are figures of {path.stem}" in str(problem)


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["mode=efficiency"], "+experiment=efficiency"),
        (["+experiment=efficiency", "efficiency.baseline=lorra"], "efficiency.baseline names lorra"),
        (["+experiment=efficiency", "efficiency.tokens=1"], "efficiency.tokens"),
        (["+experiment=efficiency", "model.quantise=int8", "model.quantiser=torchao"], "model.quantise=null"),
        (["+experiment=efficiency", "efficiency.compiled=[lorra]"], "efficiency.compiled names lorra"),
        (["+experiment=efficiency", "model.weights=pretrained"], "model.weights=random"),
    ],
)
def test_refusals(
    overrides: list[str],
    words: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["run.py", *overrides])
    with pytest.raises(SystemExit) as stopped:
        main()
    assert stopped.value.code == UserError.exit_code
    assert words in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_written_is_refused_before_anything_is_timed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(mode, "_measured", lambda *_: pytest.fail("it was measured"))
    monkeypatch.setattr(sys, "argv", ["run.py", "+experiment=efficiency", "efficiency.folder=/dev/null/figures"])
    with pytest.raises(SystemExit) as stopped:
        main()
    assert stopped.value.code == STORAGE
    assert "efficiency.folder=/dev/null/figures cannot be written to" in capsys.readouterr().err


@pytest.mark.filterwarnings("ignore:.*torch.jit.script_method:DeprecationWarning")  # of the compiler's own imports
def test_contestants_are_timed_compiled_beside_themselves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words = [word.replace("=efficiency", "=efficiency_compiled") for word in TINY]
    folder, runs = f"efficiency.folder={tmp_path}", f"output_dir={tmp_path}/runs"
    monkeypatch.setattr(sys, "argv", ["run.py", *words, folder, runs])
    with torch.compiler.set_stance("force_eager"):  # generating code takes minutes
        main()
    (path,) = tmp_path.glob("*.json")
    assert path.stem == "llama2_7b_1_layers_6_tokens_float32_cpu_compiled"
    contestants = read_report(path).contestants
    assert len(contestants) == 8
    for name, figures in contestants.items():
        assert (figures.compiling_seconds is not None) == name.endswith(COMPILED)
        assert len(figures.step_seconds) == len(figures.evaluation_seconds) == 2
        assert figures.trainable == contestants[name.removesuffix(COMPILED)].trainable
    (table,), _ = step_tables(tmp_path)
    names = [heading.text for heading in table.headings]
    rows = {row.label: dict(zip(names, row.cells, strict=True)) for row in table.blocks[0].rows}
    gain = contestants[LORA].step / contestants[LORA + COMPILED].step
    assert rows[LORA + COMPILED]["compiled gain ×"].text == f"{gain:.3f}"
    assert rows[LORA]["compiled gain ×"].text == ""


def test_a_report_from_before_contestants_were_compiled_is_read(folder: Path, tmp_path: Path) -> None:
    (path,) = folder.glob("*.json")
    plain = json.loads(path.read_text())
    for figures in plain["contestants"].values():
        del figures["compiling_seconds"], figures["step_flops"]
    (tmp_path / path.name).write_text(json.dumps(plain))
    (table,), problems = step_tables(tmp_path)
    assert problems == []
    assert not [heading.text for heading in table.headings if "compiled" in heading.text]
