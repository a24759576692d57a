"""Keeping the best epoch of a training, for tasks that report it instead of the last one.

After every epoch the task judges the model, and the adapter of every epoch that was the best so far is kept on disk
beside the judgements until the end: a run that goes on from a checkpoint repeats epochs, on a GPU with other last
digits, and may find an earlier one best after all.

Does not: train, or decide what best means (the task does).
"""

import json
from collections.abc import Mapping
from pathlib import Path

from wegeft.files import write_atomically
from wegeft.methods.base import Method
from wegeft.tasks.prepared import EpochChoice
from wegeft.training import adapter_file
from wegeft.training.distributed import current
from wegeft.training.logger import Log

CANDIDATE, VALUES = "best_epoch-*.safetensors", "epochs.json"


class BestEpoch:
    """A log of steps that judges the model whenever an epoch is over."""

    def __init__(self, method: Method, choice: EpochChoice, steps_per_epoch: int, folder: Path, log: Log) -> None:
        """Take the run's ``folder``, and the ``log`` that every step goes on to."""
        self._method = method
        self._choice = choice
        self._steps_per_epoch = steps_per_epoch
        self._folder = folder
        self._log = log

    def __call__(self, step: int, values: Mapping[str, float]) -> None:
        """Log one step (from 0); at the end of an epoch, judge it."""
        self._log(step, values)
        if (step + 1) % self._steps_per_epoch == 0:
            self._judge((step + 1) // self._steps_per_epoch)

    def restore_best(self, total_steps: int) -> None:
        """Put the best epoch's state back into the method; a training of less than an epoch keeps its end."""
        epochs = total_steps // self._steps_per_epoch
        values = self._values()[:epochs]
        if values:
            best = values.index(max(values)) + 1
            adapter_file.load(self._method, self._file_of(best))
            self._choice.chosen(best, values)
            current().collect(None)  # the others load it too
            if current().is_main:
                for path in set(self._folder.glob(CANDIDATE)) - {self._file_of(best)}:
                    path.unlink()

    def _judge(self, epoch: int) -> None:
        model = self._method.backbone.eval()
        value = self._choice.judge(model)
        model.train()
        before = self._values()[: epoch - 1]  # an epoch that a kill made us repeat is judged again
        if current().is_main:
            if not before or value > max(before):  # among equals, the first
                adapter_file.save(self._method, self._file_of(epoch))
            write_atomically(self._folder / VALUES, json.dumps([*before, value]).encode())
        current().collect(None)  # nobody goes on, or reads these files, before they are written

    def _file_of(self, epoch: int) -> Path:
        return self._folder / CANDIDATE.replace("*", str(epoch))

    def _values(self) -> list[float]:
        path = self._folder / VALUES
        found: list[float] = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else []
        return found
