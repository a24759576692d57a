"""``mode=judge``: score the kept answers of a run that no rule could score, and write the scores into its record.

Does not: generate answers, or change them.
"""

from collections.abc import Sequence
from pathlib import Path
from statistics import fmean

from wegeft import console, lock
from wegeft.config import RunConfig
from wegeft.errors import UserError
from wegeft.evaluation.judging.judged import Judged
from wegeft.evaluation.rescore import task_of_run
from wegeft.evaluation.samples import SAMPLES, Sample, read_samples, write_samples
from wegeft.inspection import chosen_run
from wegeft.records.assemble import BATCH_SIZE, NOT_JUDGED, PROVENANCE
from wegeft.records.outcomes import pack, pick_examples
from wegeft.records.store import InvalidRecord, Record, read_record, record_path, write_record


def judge(config: RunConfig) -> None:
    """Judge the answers of ``run``.

    Raises:
        UserError: no such run or record, nothing to judge, nobody to judge, or another process works at the run.
    """
    folder = chosen_run(config)
    with lock.hold(folder):
        _judge(folder, config)


def _judge(folder: Path, config: RunConfig) -> None:
    path = record_path(folder.name, Path(config.records_dir))
    try:
        record = read_record(path)
    except (OSError, InvalidRecord) as error:
        raise UserError(f"the record {path} of the run cannot be read: {error}.") from error
    samples = read_samples(folder / SAMPLES)
    task = task_of_run(folder)
    judged = task.judge(samples, folder, config.judge)
    if judged.samples is not None:
        write_samples(judged.samples, folder)
    scored = with_scores(record, samples, judged, task.counted(judged.scores))
    console.print_record(record, write_record(scored, Path(config.records_dir)))


def with_scores(record: Record, samples: Sequence[Sample], judged: Judged, counted: Sequence[str]) -> Record:
    """``record`` with what the judge found; its mean is over the scores that are ``counted``."""
    name, version = judged.judge
    outcomes = {} if judged.samples is None else {"outcomes": pack(judged.samples)}
    remarks, before = record["data"]["remarks"], record["evaluation"] or {}
    answered_by = remarks.get(PROVENANCE) or before.get(PROVENANCE)
    record["evaluation"] = {
        "seconds": 0.0,  # the time of the judge says nothing about the model
        "n": len(samples),
        "scores": {
            score_name: {"metric": s.metric, "value": s.value, "stderr": s.stderr, "n": s.n, "chance": s.chance}
            for score_name, s in judged.scores.items()
        },
        "mean": fmean(judged.scores[name].value for name in counted),
        "extractor": {"name": name, "version": version},
        "batch_size": _batch_size(record),
        "samples": SAMPLES,
        "examples": pick_examples(judged.samples or samples),
        **outcomes,
        **({} if answered_by is None else {PROVENANCE: answered_by}),
    }
    for remark in (NOT_JUDGED, BATCH_SIZE, PROVENANCE):
        remarks.pop(remark, None)
    return record


def _batch_size(record: Record) -> int:
    """Questions that were answered together: as noted then or when judged before, else as configured."""
    places = (record["data"]["remarks"], record["evaluation"] or {}, record["config"]["evaluation"])
    size: int = next(place[BATCH_SIZE] for place in places if isinstance(place.get(BATCH_SIZE), int))
    return size
