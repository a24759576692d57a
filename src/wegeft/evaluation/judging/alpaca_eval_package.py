"""Judging by an annotator of the alpaca_eval package: its prompts and parsers, so that win rates are AlpacaEval's own.

The package runs as a process of its own, asks whom ``judge.base_url`` and the key name, and keeps what was answered in
a file of the run's folder, from where an interrupted command goes on. ``judge.model`` replaces the annotator's model,
for an endpoint that calls it otherwise or has another one; the judge's name says so.

Does not: compute the win rate, or download reference answers; a run brings its own.
"""

import importlib.metadata
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from wegeft.errors import UserError
from wegeft.evaluation.judging.config import JudgeConfig
from wegeft.evaluation.judging.win_rate import Judgement, Pair, read_judgements
from wegeft.schema import did_you_mean

PACKAGE = "alpaca_eval"
CACHE = "alpaca_eval_cache.json"
"""What the package has been answered so far, in the folder of the run."""


def annotate(pairs: Sequence[Pair], folder: Path, config: JudgeConfig) -> list[Judgement]:
    """The annotator's judgements of ``pairs``, in their order.

    Raises:
        UserError: no such annotator, the package is not installed, no endpoint and no key, or the package fails.
    """
    name, annotator = _annotator(config)
    environment = _environment(config)
    with tempfile.TemporaryDirectory() as place:
        work = Path(place)
        (work / "annotator.yaml").write_text(yaml.safe_dump({name: annotator}), encoding="utf-8")
        (work / "client.yaml").write_text(yaml.safe_dump({"default": [{"timeout": config.timeout_seconds}]}))
        for file, field in (("model", "output"), ("reference", "reference")):
            rows = [
                {"instruction": pair.instruction, "output": getattr(pair, field), "generator": file} for pair in pairs
            ]
            (work / f"{file}.json").write_text(json.dumps(rows), encoding="utf-8")
        options = {
            "model_outputs": work / "model.json",
            "reference_outputs": work / "reference.json",
            "annotators_config": work / "annotator.yaml",
            "output_path": work / "out",
            "caching_path": folder.resolve() / CACHE,
            "precomputed_leaderboard": None,
        }
        command = [
            sys.executable,
            "-m",
            "wegeft.evaluation.judging.alpaca_eval_main",
            "evaluate",
            *(f"--{k}={v}" for k, v in options.items()),
        ]
        environment["OPENAI_CLIENT_CONFIG_PATH"] = str(work / "client.yaml")
        done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
        if done.returncode != 0:
            reason = (done.stderr.strip().splitlines() or ["it says nothing"])[-1]
            raise UserError(f"judge.annotator={config.annotator}: {PACKAGE} has failed ({reason}).")
        (made,) = (work / "out").rglob("annotations.json")
        by_instruction = {one.instruction: one for one in read_judgements(made, annotator_judge(config))}
    return [replace(by_instruction[pair.instruction], output=pair.output) for pair in pairs]


def annotator_judge(config: JudgeConfig) -> str:
    """The name of ``config.annotator`` as a judge; `UserError` as :func:`annotate`."""
    name, _ = _annotator(config)
    return f"{name} ({PACKAGE} {importlib.metadata.version(PACKAGE.replace('_', '-'))})"


def _annotator(config: JudgeConfig) -> tuple[str, dict[str, Any]]:
    """Name and settings of ``config.annotator``, with ``config.model`` in its place and its prompt found."""
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None or spec.origin is None:
        raise UserError(f"judge.annotator={config.annotator} needs the package {PACKAGE}: pip install 'wegeft[judge]'.")
    configs = Path(spec.origin).parent / "evaluators_configs"
    path = configs / str(config.annotator) / "configs.yaml"
    if not path.is_file():
        known = sorted(one.parent.name for one in configs.glob("*/configs.yaml"))
        raise UserError(
            f"judge.annotator={config.annotator} is none of {PACKAGE}'s{did_you_mean(str(config.annotator), known)}; "
            f"choices: {', '.join(known)}."
        )
    ((name, settings),) = yaml.safe_load(path.read_text(encoding="utf-8")).items()
    settings["prompt_template"] = str(configs / settings["prompt_template"])
    if config.model is None or config.model == settings["completions_kwargs"]["model_name"]:
        return name, settings
    settings["completions_kwargs"]["model_name"] = config.model
    return f"{name} asking {config.model}", settings


def _environment(config: JudgeConfig) -> dict[str, str]:
    """The environment of the package: whom to ask, with which key; version 1's arithmetic, which needs no download."""
    key = os.environ.get(config.key_variable, "")
    if config.base_url is None and not key:
        raise UserError(
            f"nobody is there to judge: set judge.base_url (an OpenAI-compatible endpoint) or {config.key_variable}."
        )
    asked = {"OPENAI_API_KEY": key or "none", "IS_ALPACA_EVAL_2": "False"}
    return {**os.environ, **asked, **({"OPENAI_BASE_URL": config.base_url} if config.base_url else {})}
