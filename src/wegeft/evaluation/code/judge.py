"""Whether an answer in words solves a programming problem: its code is run against the problem's tests.

The gold answer of such a question is the problem itself, as JSON, so that kept answers can be judged again on a machine
without the benchmark's files.

Does not: run anything outside the sandbox, unless the comparison says ``unsandboxed``.
"""

import json
from dataclasses import asdict
from functools import cache
from typing import Literal

from wegeft.evaluation.code.problems import (
    Problem,
    closes_block,
    code_of,
    official_code,
    program,
    through_first_block,
)
from wegeft.evaluation.code.sandbox import Isolation, Limits, run_program
from wegeft.evaluation.extractors import Decided, Extractor
from wegeft.schema import Strict


class WrittenCodeConfig(Strict):
    """How code is taken out of an answer.

    Attributes:
        mending: ``clean`` takes the first fenced block, else all; ``official`` mends the text as WeGeFT's HumanEval
            evaluation does.
        opened: the prompt ends with the opening of a block, in which the answer begins.
    """

    mending: Literal["clean", "official"]
    opened: bool = False


class WrittenCode(Extractor):
    """What the model wrote up to the end of its code; the comparison, which knows the problem, takes the code out.

    Version 1 kept what follows the first block of a ``clean`` answer, which no score depends on.
    """

    Config = WrittenCodeConfig
    version = 2

    def __init__(self, config: WrittenCodeConfig) -> None:
        self.mending = config.mending
        self.opening = "```python\n" if config.opened else ""

    def extract(self, text: str) -> str | None:
        """See :meth:`Extractor.extract`."""
        if not text.strip():
            return None
        if self.mending == "official":
            return f"```python{official_code(text)}\n```"
        return through_first_block(self.opening + text)

    def announce(self, answer: str) -> str:
        """See :meth:`Extractor.announce`; the benchmark's own solution, without what its head states before."""
        problem = problem_of(answer)
        function = problem.head[problem.head.rfind("\ndef ") + 1 :]
        return f"```python\n{function}{problem.solution}\n```".removeprefix(self.opening)

    def decided(self) -> Decided | None:
        """See :meth:`Extractor.decided`; the official mending reads the whole text."""
        return None if self.mending == "official" else lambda text: closes_block(self.opening + text)


def gold_of(problem: Problem) -> str:
    """``problem`` as the gold answer of a question."""
    return json.dumps(asdict(problem))


def problem_of(gold: str) -> Problem:
    """The problem behind a gold answer."""
    return Problem(**json.loads(gold))


@cache
def solves(written: str, gold: str, isolation: Isolation) -> bool:
    """Whether the code in ``written`` passes the tests of the problem ``gold``; each pair is run once.

    Raises:
        UserError: no sandbox, and ``isolation`` asks for one.
    """
    problem = problem_of(gold)
    return run_program(program(problem, code_of(problem, written)), Limits(), isolation).verdict == "passed"
