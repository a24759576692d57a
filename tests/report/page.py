"""A report of made-up runs, with an answer that would take the page over if it were not escaped."""

from pathlib import Path
from typing import Any

from tests.tables.world import PAPER, awkward_records, write_all
from wegeft.report.__main__ import main

HOSTILE = "<script>document.title='taken over'</script><img src=x onerror=\"document.title='taken over'\">"


def _records() -> list[dict[str, Any]]:
    records = awkward_records()
    for record in records:
        if record["evaluation"]:
            record["evaluation"]["examples"] = [
                {
                    "uid": "boolq/test/0",
                    "subset": "boolq",
                    "text": f"{HOSTILE} & {{{{ 7*7 }}}}",
                    "extracted": "</pre></td><b>",
                    "gold": "true",
                    "score": 0.0,
                },
                {
                    "uid": "boolq/test/1",
                    "subset": "boolq",
                    "text": "the correct answer is true",
                    "extracted": "true",
                    "gold": "true",
                    "score": 1.0,
                },
            ]
    return records


RECORDS = _records()


def make_page(folder: Path) -> Path:
    """Write the report of :data:`RECORDS` into ``folder``."""
    records = write_all(RECORDS, folder / "records")
    out = folder / "report.html"
    assert main(["--records", str(records), "--paper", str(PAPER), "--out", str(out)]) == 0
    return out
