"""Making what is missing: the commands, the board, and a real run here."""

import json
from pathlib import Path

import pytest

from scripts import sweep
from tests.records.factory import make_record
from wegeft.cluster import submit
from wegeft.cluster.runs import run_of
from wegeft.planning.runs import planned_runs
from wegeft.records.store import write_record


def places(folder: Path) -> list[str]:
    return [f"records_dir={folder}/records", f"output_dir={folder}/runs"]


def test_commands(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["method=none", "seed=1,2", *places(tmp_path)]
    assert sweep.main([*words, "--dry-run", "--local"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines == [f"python run.py method=none seed={seed} {' '.join(places(tmp_path))}" for seed in (1, 2)]


def test_what_is_missing_and_not_queued_is_submitted_as_one_array(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`sbatch` and `squeue` are programs that keep what they get; tests/slurm submits to real ones."""
    words = ["method=none", "seed=1,2,3", *places(tmp_path)]
    first = planned_runs(words)[0].run_id
    queue = tmp_path / "queue.json"
    queue.write_text(json.dumps([first]))
    programs = {
        "srun": "",
        "squeue": f"echo '11_0|PENDING|0:00|1:00|wegeft|Priority|{queue}'",
        "sbatch": "echo Submitted batch job 12",
    }
    for name, body in programs.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{body}\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    assert sweep.main([*words, "hydra.launcher.partition=gpu"]) == 0
    *jobs, last = capsys.readouterr().out.splitlines()
    assert last == "2 submitted"
    assert [line.split()[0] for line in jobs] == ["12_0", "12_1"]
    assert first not in {line.split()[1] for line in jobs}
    (script,) = tmp_path.glob("runs/slurm/*/12_submission.sh")
    assert "--partition=gpu" in script.read_text()
    assert sweep.main([*words, "--status"]) == 0
    assert "queued 1, failed 0, missing 2" in capsys.readouterr().out


def test_what_is_missing_is_made_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["method=none", "evaluation.limit=1", "task.listed_answers=false", "seed=1", *places(tmp_path)]
    assert sweep.main([*words, "--local"]) == 0
    assert "1 of 1 made" in capsys.readouterr().out
    assert sweep.main([*words, "--local"]) == 0
    assert "0 of 0 made" in capsys.readouterr().out
    assert sweep.main([*words, "--status"]) == 0
    assert "done 1" in capsys.readouterr().out


def test_a_forced_run_that_fails_is_not_made_by_the_record_of_an_earlier_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["method=none", "seed=1", "force=true", *places(tmp_path)]
    (run,) = planned_runs(words)
    write_record(make_record(run.config.plain()), tmp_path / "records")
    crash = [submit.Submitted("1", run_of(run.config, run.words), Path("log"))]
    monkeypatch.setattr(submit, "here", lambda *_: crash)
    assert sweep.main([*words, "--local"]) == 1
    said = capsys.readouterr().out
    assert "has no new record; its log is log" in said
    assert "0 of 1 made" in said


@pytest.mark.parametrize("words", [["table=nothing"], ["method=nothing"], ["--nothing"], ["nothing=1"]])
def test_wrong_input_is_one_sentence(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert sweep.main(words) == 2
    assert capsys.readouterr().err.startswith("error: ")
