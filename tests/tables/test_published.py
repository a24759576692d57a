"""Published numbers: the files that ship, and what is refused."""

from pathlib import Path

import pytest

from tests.tables.world import PAPER
from wegeft.errors import UserError
from wegeft.tables.published import HEADER, load_published

FILES = sorted(PAPER.glob("*.csv"))
# VTAB's average is over 19 tasks and the efficiency figure has none.
AVERAGING = [path for path in FILES if path.stem not in ("wegeft_v3_vtab1k", "wegeft_v5_efficiency")]
# AdaMSS prints averages for its linear probes that their own cells do not give.
ODD = {("adamss_vision", "LP")}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_shipped_file_is_read(path: Path) -> None:
    rows = load_published(path)
    assert rows
    assert all(row.values and row.source for row in rows)


def _cell(file: str, task: str, **labels: str) -> str:
    rows = [
        row
        for row in load_published(PAPER / f"{file}.csv")
        if all(row.labels[name] == value for name, value in labels.items())
    ]
    assert len(rows) == 1
    return rows[0].values[task]


# Read from the page's images, the repositories' README files and the paper texts that the files name.
KNOWN = [
    ("wegeft_v3_commonsense", "avg", {"backbone": "Llama 3 8B", "variant": "QV r=64"}, "86.7"),
    ("wegeft_v3_commonsense", "ARC-c", {"backbone": "Llama 2 7B", "variant": "QV r=64"}, "74.5"),
    ("wegeft_v3_commonsense", "avg", {"backbone": "LLaMA-1 7B", "method": "LoRA"}, "74.7"),
    ("wegeft_v3_math10k", "MAWPS", {"variant": "QKVUD r=64"}, "84.9"),
    ("wegeft_v3_instruction", "AlpacaEval1_win_rate", {"variant": "QV r=128"}, "86.87"),
    ("wegeft_v3_fgvc", "StanfordCars", {"method": "GIFT"}, "84.28"),
    ("wegeft_v3_vtab1k", "avg", {"method": "LoRA"}, "73.95"),
    ("wegeft_v3_glue", "RTE", {"backbone": "RoBERTa-Large", "method": "GIFT"}, "87.0"),
    ("wegeft_v5_efficiency", "wall_time_ratio", {"method": "VeRA"}, "20.95"),
    ("dora_commonsense", "avg", {"backbone": "LLaMA-7B", "variant": "r=4 lr=2e-4"}, "61.9"),
    ("reft_commonsense", "avg", {"backbone": "Llama 3 8B", "method": "LoReFT"}, "86.6"),
    ("red_glue", "avg", {"backbone": "RoBERTa-Large", "method": "RED"}, "87.9"),
    ("adamss_vision", "EuroSAT", {"backbone": "ViT-Base", "method": "WeGeFT"}, "94.92"),
]  # fmt: skip


@pytest.mark.parametrize(("file", "task", "labels", "value"), KNOWN)
def test_known_cells(file: str, task: str, labels: dict[str, str], value: str) -> None:
    assert _cell(file, task, **labels) == value


@pytest.mark.parametrize("path", AVERAGING, ids=lambda path: path.stem)
def test_printed_averages_are_near_the_mean_of_their_cells(path: Path) -> None:
    """A transposed column or a slipped digit would show; the sources round."""
    for row in load_published(path):
        cells = [float(value) for task, value in row.values.items() if task not in ("avg", "memory_gb")]
        if "avg" in row.values and cells:
            printed = float(row.values["avg"])
            tolerance = 3.0 if (path.stem, row.labels["method"]) in ODD else 0.16
            assert abs(sum(cells) / len(cells) - printed) < tolerance, (row.labels, cells, printed)


def _write(tmp_path: Path, header: tuple[str, ...], *lines: str) -> Path:
    path = tmp_path / "numbers.csv"
    path.write_text("\n".join([",".join(header), *lines]) + "\n")
    return path


LINE = "1,v,t,b,m,,0.1,,own,BoolQ,70.0,,,somewhere"


def test_a_good_line(tmp_path: Path) -> None:
    (row,) = load_published(_write(tmp_path, HEADER, LINE))
    assert row.values == {"BoolQ": "70.0"}


def test_a_moved_column_names_the_file(tmp_path: Path) -> None:
    moved = (*HEADER[:9], HEADER[10], HEADER[9], *HEADER[11:])
    with pytest.raises(UserError, match=r"numbers\.csv: the columns must be row, paper_version"):
        load_published(_write(tmp_path, moved, LINE))


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (LINE + ",more", "line 2: 15 columns instead of 14"),
        (LINE.replace("70.0", "seventy"), "line 2: 'seventy' is not a number"),
        (LINE.replace("own", "mine"), "line 2: kind is 'mine', not one of own, quoted, unclear"),
        (f"{LINE}\n{LINE}", "line 3: row 1 gives BoolQ twice"),
        (f"{LINE}\n{LINE.replace(',m,', ',n,')}", "line 3: row 1 has other labels"),
    ],
)
def test_a_broken_line_names_file_and_line(tmp_path: Path, line: str, message: str) -> None:
    with pytest.raises(UserError, match="numbers.csv " + message):
        load_published(_write(tmp_path, HEADER, line))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"nowhere\.csv"):
        load_published(tmp_path / "nowhere.csv")
