"""Following instructions: open answers that a judge compares with a reference model's, and the files of instructions.

Does not: judge (``wegeft.evaluation.judging`` does).
"""

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from wegeft.errors import UserError
from wegeft.evaluation.judging.config import JudgeConfig
from wegeft.tasks.sources import LLMAdaptersFiles, Row, Split, checked_row, read_objects
from wegeft.tasks.text import TextTask

if TYPE_CHECKING:
    from wegeft.evaluation.judging.judged import Judged
    from wegeft.evaluation.samples import Sample

NO_ANSWER = "(no answer)"
"""What the judge is shown of an empty reference."""
GENERATIONS, JUDGEMENTS = "alpaca_eval_outputs.json", "judgements.json"


class InstructionTask(TextTask):
    """A text task whose answers a judge scores, unless its comparison is a rule."""

    @property
    def judged_later(self) -> bool:
        """See :attr:`TextTask.judged_later`."""
        return any(scoring.compare == "judged" for scoring in self.config.scoring.values())

    def keep_for_judge(self, samples: Sequence["Sample"], folder: Path, generator: str) -> None:
        """See :meth:`TextTask.keep_for_judge`: the answers in the file format of the alpaca_eval package."""
        from wegeft.evaluation.judging.win_rate import write_generations

        asked = self._asked()
        instructions = [asked[sample.uid] for sample in samples]
        write_generations(folder / GENERATIONS, instructions, [sample.text for sample in samples], generator)

    def judge(self, samples: Sequence["Sample"], folder: Path, config: JudgeConfig) -> "Judged":
        """See :meth:`TextTask.judge`: the win rate over the reference answers.

        Judgements are kept in ``folder``/judgements.json as they come and are not asked for again, so the same command
        goes on where it stopped, and recomputes the score when all are there.
        """
        from wegeft.evaluation.judging.compare_answers import judge_answers

        if not self.judged_later:
            return super().judge(samples, folder, config)
        return judge_answers(samples, self._asked(), folder / JUDGEMENTS, config)

    def _asked(self) -> dict[str, str]:
        """The bare instruction by the uid of its question."""
        return {
            f"{subset}/{self.source.file_split('test')}/{number}": row["instruction"]
            for subset in self.config.test_subsets
            for number, row in zip(
                self.source.row_numbers(subset, "test"), self.source.rows(subset, "test"), strict=True
            )
        }


class InstructionFiles(LLMAdaptersFiles):
    """Rows of ``instruction``, ``output`` and perhaps ``input``: Alpaca, UltraFeedback, AlpacaEval's references.

    The gold answer of a test row is the reference output; text-davinci-003 gave an empty one to two of the 805.
    """

    def rows(self, subset: str, split: Split) -> Sequence[Row]:
        """See :meth:`Source.rows`."""
        found = _rows(self.path(subset, split), split)
        self._check_count(subset, split, len(found))
        return [found[number] for number in self._drawn(split, len(found))]

    def row_numbers(self, subset: str, split: Split) -> Sequence[int]:
        """See :meth:`Source.row_numbers`."""
        return self._drawn(split, len(_rows(self.path(subset, split), split)))


@cache
def _rows(path: Path, split: Split) -> list[Row]:
    rows = []
    for number, row in enumerate(read_objects(path)):
        output = row.get("output")
        if not isinstance(output, str) or (split == "train" and not output.strip()):
            raise UserError(f"data file {path}, row {number} has no text field `output`.")
        filled = {"instruction": row.get("instruction"), "input": row.get("input") or "", "output": output}
        rows.append(checked_row(path, number, filled | {"answer": output if output.strip() else NO_ANSWER}))
    return rows
