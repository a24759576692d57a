"""The report in a real browser: no error on the console, sorting and filtering work, hostile text stays text.

Needs Chromium (package `chromium` on Debian and Ubuntu). What a test does in the page is appended to a copy of it, of
which the content security policy is taken out; that the policy lets the page's own script run, and nothing else, is
tested on the page as it is.
"""

import html
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

CHROMIUM = next(
    (found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))), ""
)
pytestmark = pytest.mark.skipif(not CHROMIUM, reason="no Chromium is installed")


def _open(path: Path, folder: Path, *options: str) -> tuple[str, str]:
    """The page's document after its scripts have run, and the browser's log."""
    command = [CHROMIUM, "--headless=new", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr", "--v=0"]
    command += [f"--user-data-dir={folder / 'profile'}", "--virtual-time-budget=5000", *options, "--dump-dom"]
    done = subprocess.run([*command, path.as_uri()], capture_output=True, text=True, check=True, timeout=120)
    return done.stdout, done.stderr


def _console(log: str) -> list[str]:
    return [line for line in log.splitlines() if ":CONSOLE" in line or "Content Security Policy" in line]


HARNESS = """
<script>
const errors = [];
window.addEventListener("error", (event) => errors.push(String(event.message)));
</script>
"""


def _act(report_file: Path, folder: Path, script: str) -> Any:
    """What ``script`` returns when it is run in the page after the page's own script."""
    text = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', HARNESS, report_file.read_text(), count=1)
    result = f"const result = (() => {{ {script} }})();"
    show = "document.body.innerHTML = ''; document.body.append(JSON.stringify({ result, errors }));"
    copy = folder / "acted.html"
    copy.write_text(text.replace("</body>", f"<script>{result} {show}</script></body>"))
    document, _ = _open(copy, folder)
    found = json.loads(html.unescape(document.partition("<body>")[2].partition("</body>")[0]))
    assert found["errors"] == []
    return found["result"]


def test_the_page_opens_without_errors(report_file: Path, tmp_path: Path) -> None:
    document, log = _open(report_file, tmp_path)
    assert _console(log) == []
    # The page's own script has run, under the page's own policy.
    assert 'data-ready="yes"' in document
    assert "<title>WeGeFT: results</title>" in document


def test_the_policy_stops_any_other_script(report_file: Path, tmp_path: Path) -> None:
    copy = tmp_path / "injected.html"
    copy.write_text(report_file.read_text().replace("</body>", "<script>document.title = 'taken over'</script></body>"))
    document, log = _open(copy, tmp_path)
    assert "<title>WeGeFT: results</title>" in document
    assert any("Content Security Policy" in line for line in _console(log))


SORT = """
const table = document.querySelector("#table-commonsense_mini table");
const column = Array.from(table.tHead.rows[0].cells).findIndex((cell) => cell.textContent === "mean");
const button = table.tHead.rows[0].cells[column].querySelector("button");
const read = () => Array.from(table.tBodies[0].rows).slice(1).map((row) => row.cells[column].textContent.trim());
button.click();
const up = read();
button.click();
return { up, down: read(), sort: table.tHead.rows[0].cells[column].getAttribute("aria-sort") };
"""


def test_sorting_by_a_column(report_file: Path, tmp_path: Path) -> None:
    found = _act(report_file, tmp_path, SORT)
    assert found["up"][-1] == found["down"][-1] == "–"
    up = [float(text.split()[0]) for text in found["up"][:-1]]
    down = [float(text.split()[0]) for text in found["down"][:-1]]
    assert up == sorted(up)
    assert down == sorted(down, reverse=True)
    assert len(set(up)) > 2
    assert found["sort"] == "descending"


FILTER = """
const set = (name, value) => {
  const control = document.querySelector(`[data-filter=${name}]`);
  control.value = value;
  control.dispatchEvent(new Event("input"));
};
const shown = (name) => Array.from(new Set(Array.from(document.querySelectorAll("[data-item]:not([hidden])"))
  .map((item) => item.dataset[name]))).sort();
const all = document.querySelectorAll("[data-item]").length;
set("method", "lora");
const methods = shown("method");
set("scale", "mini");
const both = [shown("method"), shown("scale")];
const count = document.getElementById("count").textContent;
document.getElementById("clear").click();
const cleared = document.querySelectorAll("[data-item]:not([hidden])").length;
set("text", "not finite");
const failed = document.querySelectorAll("details[data-item]:not([hidden])").length;
return { methods, both, count, all, cleared, failed };
"""


def test_filtering(report_file: Path, tmp_path: Path) -> None:
    found = _act(report_file, tmp_path, FILTER)
    assert found["methods"] == ["lora"]
    assert found["both"] == [["lora"], ["mini"]]
    assert re.fullmatch(r"7 of \d+ runs shown", found["count"])
    assert found["cleared"] == found["all"]
    assert found["failed"] == 1


HOSTILE = """
const cell = Array.from(document.querySelectorAll("td.long")).find((one) => one.textContent.includes("<script>"));
return { title: document.title, text: cell.textContent, scripts: cell.querySelectorAll("*").length };
"""


def test_markup_in_an_answer_is_shown_as_text(report_file: Path, tmp_path: Path) -> None:
    found = _act(report_file, tmp_path, HOSTILE)
    assert found["title"] == "WeGeFT: results"
    assert found["scripts"] == 0
    assert "<script>document.title='taken over'</script>" in found["text"]
    assert "{{ 7*7 }}" in found["text"]


@pytest.mark.parametrize("width", [1300, 500])
def test_nothing_sticks_out_sideways(report_file: Path, tmp_path: Path, width: int) -> None:
    text = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", report_file.read_text(), count=1)
    copy = tmp_path / "width.html"
    script = "for (const one of document.querySelectorAll('details')) one.open = true;"
    script += "document.documentElement.dataset.over = document.documentElement.scrollWidth - window.innerWidth;"
    copy.write_text(text.replace("</body>", f"<script>{script}</script></body>"))
    document, _ = _open(copy, tmp_path, f"--window-size={width},1000")
    over = re.search(r'data-over="(-?\d+)"', document)
    assert over is not None
    assert int(over[1]) <= 0
