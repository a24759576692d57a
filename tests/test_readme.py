"""The README's commands are real: each one runs, and what it promises is there."""

import re
import shlex
import sys
from pathlib import Path

import pytest

from wegeft.cli import main

README = (Path(__file__).resolve().parents[1] / "README.md").read_text()
BLOCKS = re.findall(r"^```\n(.*?)^```", README, re.S | re.M)
COMMANDS = [line.partition("  #")[0].strip() for block in BLOCKS for line in block.splitlines()]
PLANNED = (
    "-m",
    "model=local_llama",
    "method=peft",
    "--cfg",
    "+experiment=efficiency",
    "+experiment=efficiency_compiled",
)
"""Words of commands that are not run whole: sweeps, what takes minutes, what needs files a newcomer does not have."""
ELSEWHERE = ("--help", "mode=tune", "tuned=true")
"""Words of commands that other tests carry out: tests/test_cli.py, tests/tuning."""
RUNS = [
    command
    for command in COMMANDS
    if command.startswith("python run.py") and not any(word in ELSEWHERE for word in command.split())
]


def test_there_are_commands() -> None:
    assert len(RUNS) >= 8


@pytest.mark.parametrize("command", RUNS)
def test_every_run_command_runs(
    command: str, project_root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As it stands where it needs nothing but this repository, only shorter; as a plan where it needs more."""
    folder = project_root / "src/wegeft/models/mini/mini_llama"
    words = [word.replace("FOLDER", str(folder)) for word in shlex.split(command)[2:]]
    if not any(word in PLANNED or word.startswith("scale=") for word in words):
        words += ["training.max_steps=2", "evaluation.limit=1"]
    elif not any(word.startswith("mode=") for word in words):
        words += ["mode=plan"]
    monkeypatch.setattr(sys, "argv", ["run.py", *words])
    main()
    task = next(
        (word.removeprefix("task=").partition("/")[0] for word in words if word.startswith("task=")), "commonsense"
    )
    said = capsys.readouterr().out
    assert task in said or "runs: " in said  # a sweep names what differs


def test_every_make_target_named_exists(project_root: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (project_root / "Makefile").read_text(), re.M))
    named = set(re.findall(r"(?:^|`)make ([a-z-]+)", README, re.M))
    assert {"run", "test", "tables"} <= named <= targets


def test_every_file_of_the_table_exists(project_root: Path) -> None:
    table = README[README.index("## Where things are") :]
    for cell in re.findall(r"^\| (`[^|]+) \|", table, re.M):
        for name in re.findall(r"`([^`]+)`", cell):
            assert (project_root / name).exists(), name
    for link in re.findall(r"\]\(((?!http)[^)]+)\)", README):
        assert (project_root / link).exists(), link


def test_scripts_named_exist(project_root: Path) -> None:
    for command in COMMANDS:
        if command.startswith("python scripts/"):
            assert (project_root / command.split()[1]).exists(), command
