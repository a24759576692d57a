"""Figures: the same bytes every time, the right points, and nothing left over."""

from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from matplotlib.image import imread

from tests.records.factory import SUBSETS, make_config, make_record
from tests.tables.world import PAPER, awkward_records, write_all
from wegeft.figures.points import Point, pareto, points
from wegeft.figures.style import MARKERS, PALETTE, colour, marker
from wegeft.figures.write import _rates, render_figures
from wegeft.tables.rows import make_rows
from wegeft.tables.write import Rendering, make_all


@pytest.fixture(scope="module")
def rendering(tmp_path_factory: pytest.TempPathFactory) -> Rendering:
    return make_all(write_all(awkward_records(), tmp_path_factory.mktemp("records")), PAPER, curves=True)


def _few(rendering: Rendering) -> Rendering:
    """Only what is needed to draw one figure of each kind."""
    wanted = {"commonsense_mini", "efficiency_paper_v5", "commonsense_paper_v3"}
    tables = tuple(table for table in rendering.tables if table.name in wanted)
    rows = tuple(row for row in rendering.rows if row.key.model == "mini_llama")
    return Rendering(tables, rows, rendering.definitions, ())


def _draw(rendering: Rendering, folder: Path) -> dict[str, bytes]:
    stems = render_figures(rendering.tables, rendering.rows, rendering.definitions, folder)
    assert {path.name for path in folder.iterdir()} == {f"{stem}.{form}" for stem in stems for form in ("svg", "png")}
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


@pytest.fixture(scope="module")
def drawn(rendering: Rendering, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("figures")
    _draw(_few(rendering), folder)
    return folder


def test_every_kind_of_figure_is_drawn(drawn: Path) -> None:
    assert {path.stem for path in drawn.glob("*.svg")} == {
        "commonsense_mini_parameters_0",
        "commonsense_mini_bars_0",
        "commonsense_paper_v3_parameters_0",
        "commonsense_paper_v3_parameters_1",
        "commonsense_paper_v3_parameters_2",
        "efficiency_paper_v5_0",
        "commonsense_mini_clean_mini_llama_rates",
        "commonsense_mini_clean_mini_llama_loss",
    }


def test_rates_of_different_recipes_are_different_lines() -> None:
    tried = [(8, 1e-3, 0.5), (8, 1e-2, 0.4), (64, 1e-2, 0.9), (64, 1e-3, 0.8), (16, 1e-3, 0.1)]
    records = []
    for rank, rate, value in tried:
        config = make_config(learning_rate=rate)
        config["method"]["r"] = rank
        records.append(make_record(config, dict.fromkeys(SUBSETS, value)))
    (lines,) = _rates(make_rows(records)).values()
    points = sorted([(rate, round(value, 6)) for rate, value in line] for line in lines)
    assert points == [[(1e-3, 0.5), (1e-2, 0.4)], [(1e-3, 0.8), (1e-2, 0.9)]]


def test_the_same_input_gives_the_same_bytes(rendering: Rendering, drawn: Path, tmp_path: Path) -> None:
    few = _few(rendering)
    one = Rendering(few.tables[:1], few.rows, few.definitions, ())
    again = _draw(one, tmp_path)
    assert len(again) == 8
    for name, content in again.items():
        assert (drawn / name).read_bytes() == content, name


def test_figures_can_be_opened_and_hold_no_date(drawn: Path) -> None:
    for path in drawn.glob("*.svg"):
        root = ElementTree.fromstring(path.read_text())
        assert root.tag.endswith("svg")
        assert "dc:date" not in path.read_text()
    for path in drawn.glob("*.png"):
        pixels_HWC = imread(path)
        assert min(pixels_HWC.shape[:2]) > 200
        assert pixels_HWC.shape[2] == 4
        colours = np.ascontiguousarray((255 * pixels_HWC).round().astype(np.uint8)).view(np.uint32)
        assert len(np.unique(colours)) > 5
        assert b"Software" not in path.read_bytes()


def test_figures_that_are_no_longer_drawn_are_removed(tmp_path: Path) -> None:
    (tmp_path / "old.svg").write_text("<svg/>")
    assert render_figures([], [], [], tmp_path) == []
    assert list(tmp_path.iterdir()) == []


def test_points_come_from_the_table(rendering: Rendering) -> None:
    tables = {table.name: table for table in rendering.tables}
    found = points(tables["commonsense_paper_v3"])
    assert list(found) == ["LLaMA-1 7B", "Llama 2 7B", "Llama 3 8B"]
    (best,) = [point for point in found["Llama 3 8B"] if point.label == "GIFT (QV r=64)"]
    assert (best.percent, best.score, best.ours, best.quoted) == (0.013, 86.7, False, False)
    assert best.method == "wegeft"
    ours = points(tables["commonsense_mini"])["mini Llama"]
    # The untuned backbone trains nothing and has no place on a log axis; red was not run.
    assert {point.method for point in ours} == {"full", "wegeft", "lora", "dora"}


def _point(percent: float, score: float) -> Point:
    return Point("", "lora", percent, score, None, True, False)


def test_the_front_holds_what_no_other_point_beats() -> None:
    cheap, middle, dear = _point(0.01, 80), _point(0.1, 85), _point(1, 90)
    beaten = [_point(0.1, 79), _point(0.5, 84), _point(1, 89), _point(2, 90)]
    assert pareto([dear, *beaten, cheap, middle]) == [cheap, middle, dear]
    assert pareto([]) == []


def test_every_method_of_a_figure_looks_different() -> None:
    methods = [
        "wegeft",
        "lora",
        "dora",
        "red",
        "full",
        "none",
        "vera",
        "adalora",
        "ssf",
        "vpt",
        "bitfit",
        "linear_probe",
    ]
    assert len({colour(method, methods) for method in methods}) == len(methods) == len(PALETTE)
    assert len({marker(method, methods) for method in methods}) == len(MARKERS)
    assert colour("lora", methods) == colour("lora", ["lora"])
