"""Where runs stand, from records, the queue and run folders."""

from pathlib import Path

from tests.composing import run_config
from tests.records.factory import make_record
from wegeft import lock
from wegeft.cluster.queue import QueuedRun
from wegeft.planning.board import Standing, standings
from wegeft.planning.estimate import Estimator
from wegeft.planning.runs import PlannedRun
from wegeft.records import run_id, write_record


def planned(folder: Path, seed: int) -> PlannedRun:
    words = (f"seed={seed}", "method=none", f"records_dir={folder}/records", f"output_dir={folder}/runs")
    config = run_config(*words)
    identity = run_id(config.plain())
    exists = (folder / "records" / f"{identity}.json").is_file()
    return PlannedRun(identity, words, config, exists, Estimator([]).estimate(config))


def stands(run: PlannedRun, *queue: QueuedRun) -> Standing:
    (found,) = standings([run], queue)
    return found


def log(folder: Path, run: PlannedRun, text: str) -> None:
    path = folder / "runs" / run.run_id / "slurm-7.log"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def test_every_state(tmp_path: Path) -> None:
    run = planned(tmp_path, 1)
    assert stands(run).state == "missing"
    waiting = QueuedRun(run.run_id, "7_2", "PENDING", "0:00", "1:00:00", "Priority")
    assert stands(run, waiting) == Standing(run, "queued", "job 7_2 PENDING: Priority")
    log(tmp_path, run, "train 3/250 loss 4.2\ntrain 120/250 loss 0.2 · 3,194 tokens/s 35 s left\n")
    working = QueuedRun(run.run_id, "6", "RUNNING", "0:30", "59:30", "None")
    note = "train 120/250, 35 s left · job 6 for 0:30, limit in 59:30"
    assert stands(run, working, waiting) == Standing(run, "running", note)
    log(tmp_path, run, "train 3/250\nerror: the disk is full.\nslurmstepd: done\n")
    assert stands(run) == Standing(run, "failed", "error: the disk is full.")


def test_a_locked_folder_is_a_run_at_work_on_this_machine(tmp_path: Path) -> None:
    run = planned(tmp_path, 1)
    with lock.hold(tmp_path / "runs" / run.run_id):
        assert stands(run) == Standing(run, "running", "on this machine")
    assert stands(run).state == "missing"


def test_records_say_done_or_how_it_ended(tmp_path: Path) -> None:
    done, diverged = planned(tmp_path, 1).config.plain(), planned(tmp_path, 2).config.plain()
    write_record(make_record(done), tmp_path / "records")
    write_record(make_record(diverged, status="diverged"), tmp_path / "records")
    assert stands(planned(tmp_path, 1)).state == "done"
    ended = stands(planned(tmp_path, 2))
    assert ended.state == "failed"
    assert ended.note.startswith("diverged: ")
