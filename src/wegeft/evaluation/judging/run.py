"""``mode=judge``: score the kept answers of a run that no rule could score, and write the scores into its record.

Does not: generate answers, or change them.
"""

from pathlib import Path
from statistics import fmean

from wegeft import console
from wegeft.config import RunConfig
from wegeft.errors import UserError
from wegeft.evaluation.judging.judged import Judged
from wegeft.evaluation.rescore import task_of_run
from wegeft.evaluation.samples import SAMPLES, Sample, read_samples
from wegeft.inspection import chosen_run
from wegeft.records.outcomes import pick_examples
from wegeft.records.store import InvalidRecord, Record, read_record, record_path, write_record


def judge(config: RunConfig) -> None:
    """Judge the answers of ``run``.

    Raises:
        UserError: no such run or record, nothing to judge, or nobody to judge.
    """
    folder = chosen_run(config)
    path = record_path(folder.name, Path(config.records_dir))
    try:
        record = read_record(path)
    except (OSError, InvalidRecord) as error:
        raise UserError(f"the record {path} of the run cannot be read: {error}.") from error
    samples = read_samples(folder / SAMPLES)
    judged = task_of_run(folder).judge(samples, folder, config.judge)
    console.print_record(record, write_record(with_scores(record, samples, judged), Path(config.records_dir)))


def with_scores(record: Record, samples: list[Sample], judged: Judged) -> Record:
    """``record`` with what the judge found; the first score is the reported one."""
    name, version = judged.judge
    record["evaluation"] = {
        "seconds": 0.0,  # the time of the judge says nothing about the model
        "n": len(samples),
        "scores": {
            score_name: {"metric": s.metric, "value": s.value, "stderr": s.stderr, "n": s.n, "chance": s.chance}
            for score_name, s in judged.scores.items()
        },
        "mean": fmean([score.value for score in judged.scores.values()][:1]),
        "extractor": {"name": name, "version": version},
        "batch_size": record["config"]["evaluation"]["batch_size"],
        "samples": SAMPLES,
        "examples": pick_examples(samples),
    }
    record["data"]["remarks"].pop("not_judged", None)
    return record
