"""``python -m wegeft.report``: write the report, one HTML file that needs no network to be read.

Exit code 0; 1 if a record, a definition or a published file could not be used (the report lists it); 2 if nothing
could be done.
"""

import argparse
import base64
import hashlib
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from wegeft.errors import UserError
from wegeft.files import write_atomically
from wegeft.report import content
from wegeft.tables.write import Rendering, make_all

FOLDER = Path(__file__).parent


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    options = _parser().parse_args(arguments)
    try:
        for name in ("records", "paper"):
            if not getattr(options, name).is_dir():
                raise UserError(f"--{name}={getattr(options, name)} is not a folder.")
        rendering = make_all(options.records, options.paper, curves=True)
        page = render(rendering)
        write_atomically(options.out, page.encode())
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
    print(f"{options.out} written ({len(page) / 1e6:.1f} MB)", file=sys.stderr)
    for problem in rendering.problems:
        print(f"not used: {problem}", file=sys.stderr)
    return 1 if rendering.problems else 0


def render(rendering: Rendering) -> str:
    """The whole page. All text is escaped by the template; only our own style and script are not."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(FOLDER), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    style, script = ((FOLDER / name).read_text(encoding="utf-8") for name in ("report.css", "report.js"))
    headers = {one.name: one.header for definition in rendering.definitions for one in definition.backbones}
    records = [run for row in rendering.rows for run in row.runs]
    tables = [content.table_view(table) for table in content.fitting(rendering.tables)]
    runs = [content.run_view(run, headers.get(run["config"]["model"]["name"], "")) for run in records]
    return environment.get_template("report.html.j2").render(
        tables=tables,
        runs=runs,
        methods=content.method_views(records),
        filters=content.filters(tables, runs),
        figures=_figures(rendering),
        problems=[str(problem) for problem in rendering.problems],
        style=style,
        script=script,
        style_hash=_hash(style),
        script_hash=_hash(script),
    )


def _figures(rendering: Rendering) -> list[dict[str, Any]]:
    """Every figure as SVG in base64, in the order in which it was drawn."""
    from wegeft.figures.write import render_figures

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        stems = render_figures(rendering.tables, rendering.rows, rendering.definitions, folder, forms=("svg",))
        return [
            {"name": stem, "data": base64.b64encode((folder / f"{stem}.svg").read_bytes()).decode()} for stem in stems
        ]


def _hash(text: str) -> str:
    """For the page's content security policy: nothing but our own script and style may run."""
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m wegeft.report", description="Write the HTML report.")
    parser.add_argument("--records", type=Path, default=Path("results/records"), help="folder of records")
    parser.add_argument("--paper", type=Path, default=Path("results/paper"), help="folder of published numbers")
    parser.add_argument("--out", type=Path, default=Path("results/report.html"), help="file to write")
    return parser


if __name__ == "__main__":
    sys.exit(main())
