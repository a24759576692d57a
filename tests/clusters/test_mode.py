"""``mode=clusters`` on a short run: what it writes, and what it refuses."""

import json
from pathlib import Path

import pytest
from PIL import Image

from tests.composing import run_config
from wegeft import experiment
from wegeft.clusters.mode import clusters
from wegeft.clusters.page import Shown, render
from wegeft.clusters.sheet import CELL, GAP
from wegeft.config import RunConfig
from wegeft.errors import UserError
from wegeft.records.identity import run_id

SHORT = (
    "task=mini_fgvc/birds",
    "model=mini_vit_random",
    "task.source.pictures={train: 32, val: 8, test: 24}",
    "training.epochs=1",
)


@pytest.fixture
def folder() -> Path:
    """The folder of a short run in the current folder."""
    config = run_config(*SHORT)
    experiment.run(config)
    return Path(config.output_dir) / run_id(config.plain()) / "clusters"


def look(*overrides: str) -> RunConfig:
    return run_config("mode=clusters", *SHORT, *overrides)


def test_sheets_page_and_scores_are_written(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    record = next(Path("results/records").glob("*.json")).read_bytes()
    clusters(look("clusters.images=[birds/test/3,birds/test/0]", "clusters.scored=10"))
    assert "2 images" in capsys.readouterr().out
    assert sorted(path.name for path in folder.iterdir()) == ["0.png", "1.png", "index.html", "localisation.json"]
    with Image.open(folder / "0.png") as sheet:
        depth, rank = 5, 8
        assert sheet.height > 2 * depth * CELL
        assert sheet.width > (1 + rank) * (CELL + GAP)
    page = (folder / "index.html").read_text()
    assert page.index("birds/test/3") < page.index("birds/test/0")
    assert page.count("data:image/png;base64,") == 2
    scores = json.loads((folder / "localisation.json").read_text())
    assert scores["images"] == 10
    assert 0.2 < scores["even"] < 0.9
    assert [layer["layer"] for layer in scores["layers"]] == [f"blocks.{i}.attn.proj" for i in range(5)]
    assert all(0 <= layer[when]["mean"] <= 1 for layer in scores["layers"] for when in ("before", "after"))
    assert next(Path("results/records").glob("*.json")).read_bytes() == record


def test_looking_twice_gives_the_same_bytes(folder: Path) -> None:
    clusters(look("clusters.images=[birds/test/0]"))
    first = {path.name: path.read_bytes() for path in folder.iterdir()}
    clusters(look("clusters.images=[birds/test/0]"))
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == first


def test_without_names_the_first_of_the_class_are_shown(folder: Path) -> None:
    clusters(look("clusters.class_name=bird-1c", "clusters.only_right=false", "clusters.limit=1"))
    page = (folder / "index.html").read_text()
    assert "birds/test/2" in page
    assert page.count("data:image/png;base64,") == 1


@pytest.mark.usefixtures("folder")
def test_what_is_not_there_is_refused() -> None:
    with pytest.raises(UserError, match="birds/test/99 is no test image"):
        clusters(look("clusters.images=[birds/test/99]"))
    with pytest.raises(UserError, match="none of bird-1a, bird-1b"):
        clusters(look("clusters.class_name=ostrich"))
    with pytest.raises(UserError, match="train the run first"):
        clusters(look("seed=7"))
    with pytest.raises(UserError, match="needs images"):
        clusters(run_config("mode=clusters"))


def test_text_on_the_page_is_escaped() -> None:
    page = render("<b>run</b>", "abc", [Shown("<script>", "gold", "other", b"")], None)
    assert "<script>" not in page
    assert "&lt;b&gt;run&lt;/b&gt;" in page
