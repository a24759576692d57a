"""``mode=tune``: choose hyper-parameters on validation rows, with the same settings and budget for every method.

Each trial is a run of its own, as ``python run.py`` would do it, with a record in ``output_dir``/tune/records; a trial
that has its record is not repeated. The finished search is one file (``wegeft.tuning.found``), which ``tuned=true``
takes values from.

Does not: score a row that runs report; that is refused before anything is trained.
"""

import shlex
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean

from hydra.core.hydra_config import HydraConfig
from rich.console import Console

from wegeft.compose import Composer
from wegeft.config import RunConfig
from wegeft.errors import UserError
from wegeft.experiment import check_fit, obtain, together
from wegeft.files import check_writable
from wegeft.rank import is_first
from wegeft.records.identity import run_id
from wegeft.records.provenance import collect_provenance, own_command
from wegeft.records.store import Record, read_record, record_path
from wegeft.tasks import build_task
from wegeft.tuning.found import Found, Trial, Values, found_path, look_up, write_found
from wegeft.tuning.search import search
from wegeft.tuning.show import print_found, said

OF_THE_SEARCH = ("mode", "seed", "output_dir", "records_dir")
"""Keys of the command line that every trial sets by itself."""


def tune(config: RunConfig) -> None:
    """Search ``config.tune.space`` for the best values of ``config`` on validation rows, and write the file.

    Raises:
        UserError: the task states no validation rows, they are among those that runs report, or a key of the space
            does not exist; nothing has been trained then. Or no trial could be scored.
    """
    trials = Trials(config)
    trials.check()
    search(config.tune, trials.score)
    found, path = trials.found(), found_path({**config.plain(), "tune": {"folder": config.tune.folder}})
    if is_first():
        write_found(found, path)
        print_found(found, path)


class Trials:
    """The trials of one search, carried out as they are asked for."""

    def __init__(self, config: RunConfig) -> None:
        validation = config.tune.validation_words
        if validation is None:
            raise UserError(
                f"task={config.task['name']} states no validation rows at scale={config.scale.name}, and test rows "
                "choose nothing; tune.validation=['KEY=VALUE',...] can name some."
            )
        self._config = config
        self._validation = validation
        self._given = [word for word in HydraConfig.get().overrides.task if _key(word) not in OF_THE_SEARCH]
        self._composer = Composer()
        self._done: list[Trial] = []
        self._data: dict[str, str] = {}

    def check(self) -> None:
        """Refuse a search that could not be carried out, or would see rows that runs report."""
        first = {one.key: one.first for one in self._config.tune.space}
        trial = self._composer.checked(self._words(first, self._config.tune.seeds[0]))
        for key, value in first.items():
            if look_up(trial.plain(), key) != value:
                raise UserError(f"tune.space.{key} sets no single value of the configuration.")
        check_fit(trial)
        check_writable("tune.folder", Path(self._config.tune.folder))
        reported = build_task(self._config.task).scored_uids(self._config.protocol)
        seen = sorted(reported & build_task(trial.task).scored_uids(trial.protocol))
        if seen:
            raise UserError(
                f"tune.validation={list(self._validation)} would choose on {seen[0]}, one of {len(seen)} rows "
                "that runs report; it must name other rows."
            )

    def score(self, values: Values) -> float | None:
        """The mean over seeds of the score on the validation rows; None if a run diverged."""
        records = [self._record(self._words(values, seed)) for seed in self._config.tune.seeds]
        scores = [record["evaluation"]["mean"] for record in records if record["evaluation"]]
        finished = len(scores) == len(records)
        self._data = records[0]["data"]["hashes"]
        trial = Trial(
            values=values,
            score=fmean(scores) if finished else None,
            run_ids=tuple(record["run_id"] for record in records),
        )
        self._done.append(trial)
        if is_first():
            Console().print(f"{len(self._done)}/{self._config.tune.budget} {said(trial)}", highlight=False)
        return trial.score

    def found(self) -> Found:
        """The outcome; `UserError` if no trial has a score."""
        config, wanted = self._config, self._config.tune
        scored = [(trial.score, -number) for number, trial in enumerate(self._done) if trial.score is not None]
        if not scored:
            raise UserError(f"none of the {len(self._done)} trials has a score, so nothing can be chosen.")
        score, number = max(scored)
        best, plain = self._done[-number].values, config.plain()
        lists = wanted.grid or {}
        return Found(
            schema_version=1,
            task=config.task["name"],
            scale=config.scale.name,
            protocol=config.protocol.name,
            recipe=config.training.recipe,
            model=config.model.name,
            method=config.method["name"],
            validation=self._validation,
            data=self._data,
            space=wanted.space,
            budget=wanted.budget,
            seed=wanted.seed,
            seeds=wanted.seeds,
            before={key: look_up(plain, key) for key in best},
            best=best,
            score=score,
            at_edge=tuple(key for key, c in lists.items() if len(c) > 2 and best[key] in (c[0], c[-1])),
            trials=tuple(self._done),
            command=tuple(own_command()),
            provenance=collect_provenance(own_command()),
        )

    def _words(self, values: Values, seed: int) -> list[str]:
        """The command line of a trial, after ``run.py``."""
        folder = Path(self._config.output_dir) / "tune"
        places = [f"output_dir={folder}", f"records_dir={folder / 'records'}"]
        chosen = [f"{key}={_written(value)}" for key, value in values.items()]
        return [*self._given, *self._validation, *chosen, f"seed={seed}", *places]

    def _record(self, words: Sequence[str]) -> Record:
        """The record of a trial, made if it is not there."""
        trial = self._composer.checked(words)
        with together(trial):
            record, _ = obtain(trial, ["run.py", *words])
            path = record_path(run_id(trial.plain()), Path(trial.records_dir))
            record = record or read_record(path)  # which the main process has written
        if record["status"] == "finished" and not record["evaluation"]:
            raise UserError(f"{shlex.join(words)} has no score that could choose anything.")
        return record


def _key(word: str) -> str:
    return word.lstrip("+~").partition("=")[0]


def _written(value: object) -> str:
    """``value`` in the grammar of overrides."""
    names = {None: "null", True: "true", False: "false"}
    return names[value] if value is None or isinstance(value, bool) else str(value)
