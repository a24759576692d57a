"""Programming as a text task: questions whose gold answer is a set of tests, and where such questions come from.

Does not: run programs (``wegeft.evaluation.code``).
"""

import random
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

from wegeft.errors import UserError
from wegeft.evaluation.code.judge import gold_of
from wegeft.evaluation.code.problems import Benchmark, Problem, read_problems
from wegeft.evaluation.code.sandbox import Isolation, require_isolation
from wegeft.evaluation.judging.config import JudgeConfig
from wegeft.tasks.code_feedback import feedback_rows
from wegeft.tasks.generated import GeneratedConfig, GeneratedSource
from wegeft.tasks.sources import FilteredFiles, LLMAdaptersConfig, Row, Split
from wegeft.tasks.text import TextTask, TextTaskConfig

if TYPE_CHECKING:
    from wegeft.evaluation.judging.judged import Judged
    from wegeft.evaluation.samples import Sample


class CodeTaskConfig(TextTaskConfig):
    """A text task whose answers are run.

    Attributes:
        allow_code_execution: ``sandboxed`` runs them in namespaces of their own, or not at all; ``unsandboxed`` accepts
            the risk of running them as the person who started the run; ``elsewhere`` keeps them, and ``mode=judge``
            runs them, on this machine or another.
    """

    allow_code_execution: Isolation | Literal["elsewhere"]


class CodeTask(TextTask):
    """A text task that looks for its sandbox before anything is loaded."""

    Config: ClassVar[type[CodeTaskConfig]] = CodeTaskConfig

    def __init__(self, config: CodeTaskConfig) -> None:
        super().__init__(config)
        self.isolation = config.allow_code_execution

    def check_data(self) -> None:
        """See :meth:`Task.check_data`; also UserError where programs could not be shut in."""
        super().check_data()
        if self.isolation == "sandboxed":
            require_isolation()

    @property
    def judged_later(self) -> bool:
        """See :attr:`TextTask.judged_later`."""
        return self.isolation == "elsewhere"

    def judge(self, samples: Sequence["Sample"], folder: Path, config: JudgeConfig) -> "Judged":
        """See :meth:`TextTask.judge`: run the kept programs; needs no data files, for samples hold the tests."""
        from wegeft.evaluation.code.later import run_kept

        if not self.judged_later:
            return super().judge(samples, folder, config)
        return run_kept(samples, self, config.allow_code_execution)


class BenchmarkConfig(LLMAdaptersConfig):
    """Training rows from the file of CodeFeedback; test questions from the published problem files.

    Attributes:
        problem_files: path below ``root`` by test subset (``humaneval``, ``mbpp``).
    """

    problem_files: dict[Benchmark, str]


class BenchmarkFiles(FilteredFiles):
    """CodeFeedback for training; HumanEval and MBPP: the question is the prompt, the gold answer the whole problem."""

    Config: ClassVar[type[BenchmarkConfig]] = BenchmarkConfig
    config: BenchmarkConfig

    def path(self, subset: str, split: Split) -> Path:
        """File of one subset and split."""
        if split == "train" or self.config.root is None:
            return super().path(subset, split)
        for benchmark, name in self.config.problem_files.items():
            if benchmark == subset:
                return Path(self.config.root) / name
        raise UserError(
            f"task.{split}_subsets: there is no benchmark {subset}; choices: {', '.join(self.config.problem_files)}."
        )

    def qualifying(self, subset: str, split: Split) -> Sequence[tuple[int, Row]]:
        """See :meth:`FilteredFiles.qualifying`."""
        path = self.path(subset, split)  # refuses an unknown benchmark
        if split == "train":
            return feedback_rows(path)
        benchmark: Benchmark = "humaneval" if subset == "humaneval" else "mbpp"
        return list(enumerate(row_of(problem, problem.prompt) for problem in read_problems(path, benchmark)))


class MiniCode(GeneratedSource):
    """Functions of one line over small numbers, generated ("Write f(x) that returns x plus 7")."""

    Config = GeneratedConfig

    def __init__(self, config: GeneratedConfig) -> None:
        self.config = config

    def chance(self, subset: str) -> float | None:
        """See :meth:`Source.chance`; nobody guesses a program."""
        del subset
        return None

    def all_rows(self, subset: str, split: Split) -> list[Row]:
        """See :meth:`GeneratedSource.all_rows`."""
        if subset != "one_line":
            raise UserError(f"task.{split}_subsets: the mini code has no {subset}; it has one_line.")
        return _one_line_functions()[split]


OPERATIONS = (("plus", "+"), ("minus", "-"), ("times", "*"))
LARGEST = 40


@cache
def _one_line_functions() -> dict[Literal["train", "test"], list[Row]]:
    """Every operation with every number up to 40, in a fixed mixed order; one in six is a test question."""
    pairs = [(word, sign, number) for word, sign in OPERATIONS for number in range(2, LARGEST)]
    random.Random("wegeft mini code").shuffle(pairs)
    rows = [row_of(_one_line(*pair), f"Write f(x) that returns x {pair[0]} {pair[2]}.") for pair in pairs]
    tests = len(rows) // 6
    return {"train": rows[tests:], "test": rows[:tests]}


def _one_line(word: str, sign: str, number: int) -> Problem:
    function = f"def f(x):\n    return x {sign} {number}\n"
    expected = {x: {"+": x + number, "-": x - number, "*": x * number}[sign] for x in (0, 1, 7)}
    tests = "\n".join(f"assert f({x}) == {value}" for x, value in expected.items())
    return Problem(f"one_line/{word}/{number}", "", "", "", tests, function)


def row_of(problem: Problem, instruction: str) -> Row:
    """A problem as a row: its own solution is the output, the problem with its tests the answer."""
    output = f"```python\n{problem.head}{problem.solution.rstrip()}\n```"
    return {"instruction": instruction, "input": "", "output": output, "answer": gold_of(problem)}
