"""A text task made ready for one language model: encoded training examples, objective, evaluation.

Does not: train, or decide anything about prompts and masks (the task and the encoder do).
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import nn

from wegeft.config import TrainingConfig
from wegeft.console import print_note
from wegeft.errors import UserError
from wegeft.evaluation.checks import check_test_sets
from wegeft.evaluation.config import EvaluationConfig
from wegeft.evaluation.samples import SAMPLES, read_samples, unscored, write_samples
from wegeft.progress import progress
from wegeft.tasks.base import Example
from wegeft.tasks.encoding import Encoded, EncodedSet, TextEncoder
from wegeft.tasks.encoding_cache import cache_folder, encode_cached
from wegeft.tasks.prepared import EpochChoice, FirstPrompt
from wegeft.training.agreement import check_agreement
from wegeft.training.distributed import current
from wegeft.training.objective import CausalLMObjective, Objective

if TYPE_CHECKING:
    from wegeft.evaluation.result import Evaluation
    from wegeft.tasks.text import AcceptConfig, TextTask


class PreparedText:
    """See :class:`wegeft.tasks.prepared.Prepared`."""

    def __init__(self, task: "TextTask", encoder: TextEncoder, model: nn.Module) -> None:
        """Encode the training examples; refuse what could not be evaluated afterwards."""
        self._task = task
        self._encoder = encoder
        self._too_long_prompts: dict[str, int] = {}
        check_test_sets(model, encoder, task, task.test_examples())
        examples = task.train_examples()
        self._without_target = [example.uid for example in examples if not example.target.strip()]
        if self._without_target and current().is_main:
            print_note(
                f"{len(self._without_target)} of {len(examples)} training rows have an empty target, "
                f"{self._without_target[0]} first; the record names them (train_rows_without_target)."
            )
        self._not_judged = ""
        self._batch_size = 0
        self._not_accepted: dict[str, int] = {}
        self._encoded = self._encode(examples, task.config.accept)
        self.train_items: Sequence[Encoded] = self._encoded
        self.objective: Objective[Encoded] = CausalLMObjective(encoder)
        self.first_prompt: FirstPrompt | None = first_prompt(examples[0], encoder)
        self.epoch_choice: EpochChoice | None = None

    def _encode(self, examples: Sequence[Example], accept: "AcceptConfig | None") -> EncodedSet:
        """Ids of the training examples, or of those that the task accepts."""
        limit = None if accept is None else accept.below_tokens
        encoder = self._encoder if limit is None else self._encoder.skipping_from(limit)
        with progress(len(examples), "tokenise") as advance:
            found = encode_cached(encoder, examples, cache_folder(), advance)
        if not len(found):
            raise UserError(
                f"protocol.max_length={encoder.protocol.max_length} and protocol.truncation="
                f"{encoder.protocol.truncation} leave no training row."
            )
        if accept is None:
            return found
        used = found.first(accept.rows or len(found))
        self._not_accepted = {
            "train_rows_too_long_for_the_task": len(found.skipped),
            "train_rows_left_over": len(found) - len(used),
        }
        if not len(used):
            raise UserError(f"no training row is below task.accept.below_tokens={limit}.")
        return used

    def objective_for(self, model: nn.Module, config: TrainingConfig) -> Objective[Encoded]:
        """:attr:`objective`: there is nothing to be had for less; UserError where ``model`` gives another loss."""
        check_agreement(model, self._encoder, self.train_items, config)
        return self.objective

    def evaluate(self, model: nn.Module, config: EvaluationConfig, folder: Path) -> "Evaluation | None":
        """Answers to every test prompt, scored unless a judge has to; samples go to ``folder``."""
        from wegeft.evaluation.evaluate import evaluate_text

        evaluation = evaluate_text(model, self._encoder, self._task, config, folder)
        self._too_long_prompts = dict(evaluation.too_long)
        if not self._task.judged_later:
            return evaluation
        self._leave_to_judge(folder, evaluation.batch_size)
        return None

    def _leave_to_judge(self, folder: Path, batch_size: int) -> None:
        """Take the scores out of the samples in ``folder``; note how they were made and what gives them others."""
        if current().is_main:
            samples = [unscored(sample) for sample in read_samples(folder / SAMPLES)]
            write_samples(samples, folder)
            self._task.keep_for_judge(samples, folder, folder.name)
        self._not_judged = f"python run.py mode=judge run={folder.name}"
        self._batch_size = batch_size

    def remarks(self) -> dict[str, Any]:
        """Rows that were cut, left out or teach nothing, and what waits for a judge; what is empty is left away."""
        items = self._encoded
        remarks = {
            "train_rows_truncated": list(items.truncated),
            "train_rows_skipped": list(items.skipped),
            "train_rows_without_target": self._without_target,
            "test_prompts_too_long": self._too_long_prompts,
            "train_rows_left_out": sum(
                self._task.source.left_out(subset, "train") for subset in self._task.config.train_subsets
            ),
            "not_judged": self._not_judged,
            "batch_size": self._batch_size,
            **self._not_accepted,
        }
        return {name: found for name, found in remarks.items() if found}


def first_prompt(example: Example, encoder: TextEncoder) -> FirstPrompt:
    """The prompt of ``example`` as text and ids, with the special tokens in use."""
    specials = {"bos": encoder.bos_id, "eos": encoder.eos_id, "pad": encoder.pad_id}
    return FirstPrompt(example.prompt, tuple(encoder.encode_prompts([example.prompt]).input_ids[0]), specials)
