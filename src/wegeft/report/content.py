"""What the report shows, as plain data for the template. Does not: escape (the template does) or write."""

import ast
import json
import shlex
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import yaml

from wegeft.figures.points import backbone_of
from wegeft.records.provenance import PACKAGE_ROOT, PROJECT_ROOT
from wegeft.records.store import Record
from wegeft.tables.table import Block, Cell, Heading, Row, Table

TAGS = ("method", "backbone", "scale", "protocol")
METHOD_CONFIGS = PROJECT_ROOT / "configs" / "method"


def table_view(table: Table) -> dict[str, Any]:
    """A table with, on every row, the tags that the filters look at."""
    facts = dict(fact.split(": ", 1) for fact in table.about if ": " in fact)
    place = {"scale": facts.get("Scale", ""), "protocol": facts.get("Protocol", "")}
    blocks = [
        {"title": block.title, "rows": [_row_view(table, block, row, place) for row in block.rows]}
        for block in table.blocks
    ]
    return {
        "name": table.name,
        "title": table.title,
        "about": table.about,
        "label": table.label,
        "headings": table.headings,
        "blocks": blocks,
        "notes": table.notes,
        "commands": table.commands,
        "commands_title": table.commands_title,
    }


def _row_view(table: Table, block: Block, row: Row, place: dict[str, str]) -> dict[str, Any]:
    method = row.facts.get("method") or row.label.partition(" (")[0].partition(" †")[0].lower()
    identities = str(row.facts.get("run_ids", "")).split()
    return {
        "label": row.label,
        "kind": row.kind,
        "tags": {"method": method, "backbone": backbone_of(block), **place},
        "run": identities[0] if identities else "",
        "cells": [_cell_view(cell, heading) for cell, heading in zip(row.cells, table.headings, strict=True)],
    }


def _cell_view(cell: Cell, heading: Heading) -> dict[str, Any]:
    kinds = ["number"] if heading.numeric else ["long"] if len(cell.text) > 60 else []
    return {"text": cell.text, "starred": cell.starred, "css": " ".join([*kinds, *([cell.rank] if cell.rank else [])])}


def run_view(record: Record, backbone: str) -> dict[str, Any]:
    """One run; ``backbone`` is the header that tables give to its model."""
    config = record["config"]
    names = {group: config[group]["name"] for group in ("task", "scale", "protocol", "model", "method")}
    evaluation = record["evaluation"] or {}
    curve = (record["training"] or {}).get("loss_curve", [])
    return {
        "id": record["run_id"],
        "title": run_title(record),
        "outcome": f"{evaluation['mean']:.1%} mean" if evaluation else record["status"],
        "error": record["error"],
        "tags": {
            "method": names["method"],
            "backbone": backbone,
            "scale": names["scale"],
            "protocol": names["protocol"],
        },
        "command": shlex.join(["python", *record["command"]]),
        "curve": polyline(curve),
        "curve_text": _curve_text(curve),
        "scores": [_score_view(name, score) for name, score in sorted(evaluation.get("scores", {}).items())],
        "examples": evaluation.get("examples", []),
        "prompt": (record["prompt"] or {}).get("text", ""),
        "config": yaml.safe_dump(config, sort_keys=True, allow_unicode=True),
        "provenance": _pretty({part: record[part] for part in ("provenance", "data", "parameters", "adapter")}),
    }


def run_title(record: Record) -> str:
    """What a run is called: method, backbone, task, scale and seed."""
    config = record["config"]
    names = {group: config[group]["name"] for group in ("method", "model", "task", "scale")}
    return f"{names['method']} on {names['model']}, {names['task']}, {names['scale']}, seed {config['seed']}"


def _score_view(name: str, score: dict[str, Any]) -> dict[str, Any]:
    def shown(value: float | None) -> str:
        return "–" if value is None else f"{value:.4f}"

    return {
        "name": name,
        "metric": score["metric"],
        "value": shown(score["value"]),
        "stderr": shown(score["stderr"]),
        "n": score["n"],
        "chance": shown(score.get("chance")),
    }


def polyline(curve: Sequence[Sequence[float]]) -> str:
    """The curve in a square of 100 by 100, the y axis pointing down from the largest value to zero."""
    if len(curve) < 2:
        return ""
    steps = [step for step, _ in curve]
    width = max(steps) - min(steps) or 1
    top = max(*(loss for _, loss in curve), 1e-12)
    points = ((100 * (step - min(steps)) / width, 100 * (1 - max(loss, 0) / top)) for step, loss in curve)
    return " ".join(f"{x:.2f},{y:.2f}" for x, y in points)


def _curve_text(curve: Sequence[Sequence[float]]) -> str:
    if len(curve) < 2:
        return ""
    (first, start), (last, end) = curve[0], curve[-1]
    top = max(loss for _, loss in curve)
    return f"step {first:g}: {start:.3f}; step {last:g}: {end:.3f}; the axis goes from 0 to {top:.3f}"


def method_views(records: Iterable[Record], configs: Path = METHOD_CONFIGS) -> list[dict[str, Any]]:
    """Every method that is configured or was run: its module's description, its counts, its runs."""
    targets = {path.stem: _target(path) for path in sorted(configs.glob("*.yaml"))}
    counts: Counter[tuple[str, str, int]] = Counter()
    runs: dict[str, list[dict[str, str]]] = {}
    for record in records:
        name = record["config"]["method"]["name"]
        targets.setdefault(name, str(record["config"]["method"].get("_target_", "")))
        runs.setdefault(name, []).append({"id": record["run_id"], "title": run_title(record)})
        counts[name, record["config"]["model"]["name"], record["parameters"]["trainable"]] += 1
    return [
        {
            "name": name,
            "text": describe(target),
            "runs": runs.get(name, []),
            "counts": [
                {"model": model, "trainable": trainable, "runs": runs}
                for (method, model, trainable), runs in sorted(counts.items())
                if method == name
            ],
        }
        for name, target in sorted(targets.items())
    ]


def describe(target: str) -> str:
    """The docstring of the module of the class at ``target``, read without importing it (that would need torch)."""
    package, *parts = target.split(".")
    path = PACKAGE_ROOT.joinpath(*parts[:-1]).with_suffix(".py") if parts else PACKAGE_ROOT
    if package != PACKAGE_ROOT.name or not path.is_file():
        return target
    return ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or target


def filters(tables: Sequence[dict[str, Any]], runs: Sequence[dict[str, Any]]) -> list[tuple[str, list[str]]]:
    """The choices of each filter: every tag that some row or run has."""
    tagged = [row["tags"] for table in tables for block in table["blocks"] for row in block["rows"]]
    tagged += [run["tags"] for run in runs]
    return [(name, sorted({tags[name] for tags in tagged if tags[name]})) for name in TAGS]


def fitting(tables: Iterable[Table]) -> list[Table]:
    """Tables that fit a page, those with runs of ours first.

    Settings stand on the pages of the runs, and of all pairs the wins are enough.
    """
    kept = [table for table in tables if not table.name.endswith(("_settings", "_pairs"))]
    return sorted(kept, key=lambda table: not table.has_runs)


def _target(path: Path) -> str:
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    return str(content.get("_target_", "")) if isinstance(content, dict) else ""


def _pretty(value: Any) -> str:
    return json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False)
