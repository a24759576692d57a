"""Rendering: Markdown of even shape, balanced LaTeX, readable CSV and JSON, and the same bytes every time."""

import csv
import errno
import io
import json
import os
import random
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.records.factory import make_config, make_record
from tests.tables.world import PAPER, awkward_records, write_all
from wegeft.tables import latex, markdown
from wegeft.tables.__main__ import main
from wegeft.tables.table import Block, Cell, Heading, Row, Table
from wegeft.tables.write import FORMS, render_all

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("rendered")
    render_all(write_all(awkward_records(), folder / "records"), PAPER, folder / "tables")
    return folder / "tables"


def _bytes(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def test_the_order_of_files_and_keys_makes_no_difference(tmp_path: Path, rendered: Path) -> None:
    for turn in range(3):
        records = awkward_records()
        random.Random(turn).shuffle(records)
        folder = tmp_path / str(turn)
        folder.mkdir()
        for number, record in enumerate(records):
            shuffled = dict(random.Random(turn).sample(list(record.items()), len(record)))
            (folder / f"{number}.json").write_text(json.dumps(shuffled))
        render_all(folder, PAPER, tmp_path / f"out{turn}")
        assert _bytes(tmp_path / f"out{turn}") == _bytes(rendered)


def test_another_process_with_another_hash_seed_writes_the_same_bytes(tmp_path: Path, rendered: Path) -> None:
    records = write_all(awkward_records(), tmp_path / "records")
    command = [
        sys.executable,
        "-m",
        "wegeft.tables",
        "--quiet",
        "--records",
        str(records),
        "--out",
        str(tmp_path / "out"),
    ]
    environment = {**os.environ, "PYTHONHASHSEED": "12345", "TZ": "Asia/Tokyo", "LC_ALL": "C"}
    subprocess.run(command, cwd=ROOT, env=environment, check=True, capture_output=True)
    assert _bytes(tmp_path / "out") == _bytes(rendered)


def _grids(text: str) -> list[list[str]]:
    return [block.splitlines() for block in re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE)]


def _cells(line: str) -> list[str]:
    return re.split(r"(?<!\\)\|", line)[1:-1]


def test_every_markdown_table_is_a_rectangle(rendered: Path) -> None:
    for path in rendered.glob("*.md"):
        grids = _grids(path.read_text())
        assert len(grids) == 1, path.name
        widths = {len(_cells(line)) for line in grids[0]}
        assert len(widths) == 1, path.name
        assert set(grids[0][1]) <= set("|:- ")


def test_every_latex_table_is_balanced(rendered: Path) -> None:
    for path in rendered.glob("*.tex"):
        text = re.sub(r"^%.*$", "", path.read_text(), flags=re.MULTILINE)
        plain = re.sub(r"\\[{}&%$#_]", "", text)
        assert plain.count("{") == plain.count("}"), path.name
        assert plain.count("$") % 2 == 0
        assert re.findall(r"\\begin\{(.*?)\}", text) == ["table*", "tabular"]
        assert re.findall(r"\\end\{(.*?)\}", text) == ["tabular", "table*"]
        assert text.isascii()
        assert text.count("?") == path.with_suffix(".md").read_text().count("?")
        assert "%" not in plain
        columns = len(re.search(r"\\begin\{tabular\}\{([lr]+)\}", text)[1])  # type: ignore[index]  # absent: a failure
        body = plain.split(r"\toprule")[1].split(r"\bottomrule")[0]
        for line in body.splitlines():
            if line.endswith(r"\\") and "multicolumn" not in line:
                assert line.count("&") + 1 == columns, (path.name, line)
        assert set(re.findall(r"\\multicolumn\{(\d+)\}", text)) <= {str(columns)}


def test_every_csv_is_a_rectangle_that_python_reads(rendered: Path) -> None:
    for path in rendered.glob("*.csv"):
        lines = list(csv.reader(io.StringIO(path.read_text())))
        assert len({len(line) for line in lines}) == 1, path.name


def test_every_form_of_every_table_is_there(rendered: Path) -> None:
    stems = {path.stem for path in rendered.glob("*.json")}
    names = {f"{stem}.{form}" for stem in stems for form in FORMS} | {"README.md"}
    assert {path.name for path in rendered.iterdir()} == names


def test_csv_json_and_markdown_agree(rendered: Path) -> None:
    table = json.loads((rendered / "commonsense_mini.json").read_text())
    lines = list(csv.DictReader(io.StringIO((rendered / "commonsense_mini.csv").read_text())))
    rows = [row for block in table["blocks"] for row in block["rows"]]
    assert [line["row"] for line in lines] == [row["label"] for row in rows]
    for line, row in zip(lines, rows, strict=True):
        assert line["BoolQ"] == row["cells"]["BoolQ"]["text"]
    text = (rendered / "commonsense_mini.md").read_text()
    assert all(markdown.escape(line["mean"]) in text for line in lines if line["mean"])


def test_ranks_are_bold_and_underlined(rendered: Path) -> None:
    text = (rendered / "commonsense_mini.md").read_text()
    source = (rendered / "commonsense_mini.tex").read_text()
    assert text.count("<u>") == source.count(r"\underline{")
    assert source.count(r"\textbf{") >= 9
    assert r"\textit{" in (rendered / "commonsense_paper_v3.tex").read_text()


HOSTILE = r"a|b*c_d`e<script>&%$#{}~^\ ±"


def test_hostile_text_stays_text() -> None:
    row = Row(HOSTILE, (Cell(HOSTILE),), "ours")
    table = Table("x", HOSTILE, (HOSTILE,), (Heading(HOSTILE),), (Block(HOSTILE, (row,)),), (HOSTILE,), ())
    text = markdown.render(table)
    assert {len(_cells(line)) for line in _grids(text)[0]} == {2}
    assert not re.search(r"(?<!\\)<script", text)
    spelled = latex.escape(HOSTILE)
    assert r"\textbackslash{} $\pm$" in spelled
    assert r"\&\%\$\#\{\}\textasciitilde{}\textasciicircum{}" in spelled


def test_no_time_and_no_place_gets_into_a_table(rendered: Path) -> None:
    for path in rendered.iterdir():
        text = path.read_text()
        assert str(ROOT) not in text
        assert "2026-01-02T03" not in text


def test_tables_that_are_no_longer_made_are_removed(tmp_path: Path) -> None:
    records = write_all(awkward_records(), tmp_path / "records")
    out = tmp_path / "out"
    render_all(records, PAPER, out)
    (out / "mine.md").write_text("# my own notes")
    assert (out / "commonsense_small_v5.tex").exists()
    for path in records.glob("*.json"):
        if "tiny|model" in path.read_text():
            path.unlink()
    render_all(records, PAPER, out)
    assert not list(out.glob("commonsense_small_v5.*"))
    assert (out / "mine.md").read_text() == "# my own notes"


def test_a_full_disk_leaves_whole_tables(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every file is the old or the new one, none is half of either, and none is gone."""
    records = write_all([make_record(make_config())], tmp_path / "records")
    options = ["--records", str(records), "--paper", str(PAPER), "--out", str(tmp_path / "out"), "--quiet"]
    assert main(options) == 0
    old = _bytes(tmp_path / "out")
    write_all([make_record(make_config(seed=43))], records)

    def full(descriptor: int) -> None:
        del descriptor
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    capsys.readouterr()
    assert main(options) == 2
    assert "could not be written (No space left on device)" in capsys.readouterr().err
    assert _bytes(tmp_path / "out") == old


def test_the_command_prints_our_tables(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    records = write_all(awkward_records(), tmp_path / "records")
    code = main(["--records", str(records), "--paper", str(PAPER), "--out", str(tmp_path / "out")])
    printed = capsys.readouterr()
    assert code == 0
    assert "# Commonsense reasoning, mini scale" in printed.out
    # A table without a run of ours is written, not printed.
    assert (tmp_path / "out" / "commonsense_small.md").exists()
    assert "(fixed sample of the real sets)" not in printed.out


def test_corrupt_records_cost_nothing_but_themselves(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good = write_all(awkward_records(), tmp_path / "good")
    bad = write_all(awkward_records(), tmp_path / "bad")
    (bad / "torn.json").write_text('{"run_id": ')
    (bad / "wrong.json").write_text("{}")
    paths = ["--paper", str(PAPER), "--quiet"]
    assert main(["--records", str(good), "--out", str(tmp_path / "a"), *paths]) == 0
    capsys.readouterr()
    assert main(["--records", str(bad), "--out", str(tmp_path / "b"), *paths]) == 1
    lines = capsys.readouterr().err.splitlines()
    assert lines[-2].startswith("not used: torn.json: is not JSON")
    assert lines[-1].startswith("not used: wrong.json: the record breaks the schema")
    without, with_them = _bytes(tmp_path / "a"), _bytes(tmp_path / "b")
    index, longer = (found.pop("README.md").decode() for found in (without, with_them))
    assert without == with_them
    problems = [f"- {markdown.escape(line.removeprefix('not used: '))}" for line in lines[-2:]]
    assert longer == index + "\n".join(["", "## Not used", "", *problems, ""])
    assert "Not used" not in index


def test_a_second_record_of_one_seed_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    records = [make_record(make_config() | {"adapter": name}) for name in ("a", "b")]
    folder = write_all(records, tmp_path / "records")
    options = ["--records", str(folder), "--paper", str(PAPER), "--out", str(tmp_path / "out"), "--quiet"]
    assert main(options) == 1
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("not used: ")]
    assert "has the same recipe, data and seed (42)" in line


def test_a_broken_published_file_costs_its_tables(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    paper = tmp_path / "paper"
    paper.mkdir()
    for path in PAPER.glob("*.csv"):
        (paper / path.name).write_text(path.read_text())
    text = (paper / "wegeft_v3_commonsense.csv").read_text()
    (paper / "wegeft_v3_commonsense.csv").write_text(text.replace("task,value", "value,task", 1))
    records = write_all([make_record(make_config())], tmp_path / "records")
    out = tmp_path / "out"
    assert main(["--records", str(records), "--paper", str(paper), "--out", str(out), "--quiet"]) == 1
    assert "wegeft_v3_commonsense.csv: the columns must be" in capsys.readouterr().err
    assert (out / "mini_backbones.md").exists()


@pytest.mark.parametrize("option", ["--records", "--paper", "--definitions"])
def test_a_folder_that_is_not_there_is_one_sentence(option: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--paper", str(PAPER), option, "/nowhere"]) == 2
    assert capsys.readouterr().err == f"{option}=/nowhere is not a folder.\n"
