"""``python -m wegeft.tables``: render every table from the records and the published numbers.

Prints the result tables that hold rows of ours, then what could not be used. Exit code 0; 1 if a record, a
definition or a published file could not be used (all other tables are written); 2 if nothing could be done.
"""

import argparse
import gc
import sys
from collections.abc import Sequence
from pathlib import Path

from wegeft.errors import UserError
from wegeft.tables import markdown
from wegeft.tables.definition import DEFINITIONS
from wegeft.tables.write import Rendering, render_all


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    options = _parser().parse_args(arguments)
    try:
        _check_folders(options)
        curves = options.figures is not None
        rendering = render_all(options.records, options.paper, options.out, options.definitions, curves)
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
    figures = _draw(rendering, options.figures)
    for table in rendering.tables:
        if table.primary and table.has_runs and not options.quiet:
            print(markdown.render(table))
    print(f"{len(rendering.tables)} tables written to {options.out}{figures}", file=sys.stderr)
    for problem in rendering.problems:
        print(f"not used: {problem}", file=sys.stderr)
    return 1 if rendering.problems else 0


def _draw(rendering: Rendering, folder: Path | None) -> str:
    """Draw the figures if a folder was named; returns words about it."""
    if folder is None:
        return ""
    from wegeft.figures.write import render_figures

    stems = render_figures(rendering.tables, rendering.rows, rendering.definitions, folder)
    return f", {len(stems)} figures to {folder}"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m wegeft.tables", description="Render every table.")
    parser.add_argument("--records", type=Path, help="folder of records (default: results/records)")
    parser.add_argument("--paper", type=Path, default=Path("results/paper"), help="published numbers")
    parser.add_argument("--out", type=Path, default=Path("results/tables"), help="folder to write to")
    parser.add_argument("--definitions", type=Path, default=DEFINITIONS, help="folder of table definitions")
    parser.add_argument("--figures", type=Path, help="folder for the figures too (they need matplotlib: a few seconds)")
    parser.add_argument("--quiet", action="store_true", help="write the files and print no table")
    return parser


def _check_folders(options: argparse.Namespace) -> None:
    """A folder that someone named must exist; a project without runs simply has no records yet."""
    if options.records is None:
        options.records = Path("results/records")
    elif not options.records.is_dir():
        raise UserError(f"--records={options.records} is not a folder.")
    for name in ("paper", "definitions"):
        if not getattr(options, name).is_dir():
            raise UserError(f"--{name}={getattr(options, name)} is not a folder.")


if __name__ == "__main__":
    # Records are millions of small objects without cycles: looking for cycles would take a third of the time.
    gc.disable()
    sys.exit(main())
