"""The report's text: deterministic, self-contained, and nothing from a record can act as markup."""

import errno
import os
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from tests.report.page import HOSTILE, RECORDS, make_page
from tests.tables.world import PAPER, write_all
from wegeft.report import __main__ as report
from wegeft.report import content
from wegeft.report.__main__ import main


@pytest.fixture(scope="module")
def page(report_file: Path) -> str:
    return report_file.read_text()


class _Tags(HTMLParser):
    """Counts tags, and collects attributes that could load or run something."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.counts: dict[str, int] = {}
        self.sources: list[str] = []
        self.handlers: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.counts[tag] = self.counts.get(tag, 0) + 1
        self.sources += [value or "" for name, value in attrs if name in ("src", "href")]
        self.handlers += [name for name, _ in attrs if name.startswith("on")]
        if tag not in ("meta", "img", "input", "polyline"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_page_is_well_formed_and_loads_nothing(page: str) -> None:
    tags = _Tags(page)
    assert tags.open == []
    assert tags.counts["script"] == 1
    assert tags.handlers == []
    assert all(source.startswith(("#", "data:image/svg+xml;base64,")) for source in tags.sources)


def test_links_lead_somewhere(page: str) -> None:
    identities = set(re.findall(r'id="([^"]+)"', page))
    assert set(re.findall(r'href="#([^"]+)"', page)) <= identities


def test_answers_of_a_model_are_text(page: str) -> None:
    assert HOSTILE not in page
    assert "&lt;script&gt;document.title" in page
    assert "{{ 7*7 }}" in page


def test_every_run_has_its_page(page: str) -> None:
    for record in RECORDS:
        assert f'id="run-{record["run_id"]}"' in page
    assert "The loss was not finite at step 7." in page


def test_methods_are_described_with_their_counts(page: str) -> None:
    section = page.partition('id="method-lora"')[2].partition("</section>")[0]
    assert "arXiv 2106.09685" in section
    assert "4,096" in section
    runs = [record["run_id"] for record in RECORDS if record["config"]["method"]["name"] == "lora"]
    assert set(re.findall(r'href="#run-(\w+)"', section)) == set(runs)


def test_the_same_input_gives_the_same_page(page: str, tmp_path: Path) -> None:
    assert make_page(tmp_path).read_text() == page


def test_what_could_not_be_used_is_listed(tmp_path: Path) -> None:
    records = write_all(RECORDS[:1], tmp_path / "records")
    (records / "torn.json").write_text("{")
    out = tmp_path / "deep" / "report.html"
    assert main(["--records", str(records), "--paper", str(PAPER), "--out", str(out)]) == 1
    assert "torn.json: is not JSON" in out.read_text()


def test_a_missing_folder_is_one_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--records", "/nowhere"]) == 2
    assert capsys.readouterr().err == "--records=/nowhere is not a folder.\n"


def test_a_curve_fits_its_frame() -> None:
    points = [tuple(map(float, pair.split(","))) for pair in content.polyline([[1, 4.0], [2, 2.0], [5, 1.0]]).split()]
    assert points == [(0, 0), (25, 50), (100, 75)]
    assert content.polyline([[1, 2.0]]) == ""


def test_a_method_from_elsewhere_is_named_by_its_path() -> None:
    assert content.describe("mypackage.method.Method") == "mypackage.method.Method"
    assert content.describe("") == ""


def test_a_report_that_cannot_be_written_is_one_sentence_and_leaves_the_old_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "report.html"
    out.write_text("old")
    (tmp_path / "records").mkdir()

    def full(descriptor: int) -> None:
        del descriptor
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    monkeypatch.setattr(report, "render", lambda _: "new")  # drawing takes seconds
    assert main(["--records", str(tmp_path / "records"), "--paper", str(PAPER), "--out", str(out)]) == 2
    assert capsys.readouterr().err.startswith(f"{out} could not be written (No space left on device)")
    assert out.read_text() == "old"
