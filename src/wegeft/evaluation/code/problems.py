"""Programming problems with tests (HumanEval, MBPP), and the programs that decide whether an answer solves one.

Does not: run anything, or generate answers.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from wegeft.errors import UserError
from wegeft.tasks.data_file import read_bytes

Benchmark = Literal["humaneval", "mbpp"]

FENCE = re.compile(r"```[ \t]*(?:python|py)?[ \t]*\n(.*?)(?:```|\Z)", re.DOTALL | re.IGNORECASE)


@dataclass(frozen=True)
class Problem:
    """One problem.

    Attributes:
        uid: its name in the benchmark, e.g. ``HumanEval/0``.
        prompt: HumanEval: the head of the function with its description; MBPP: the description.
        head: code that an answer continues (HumanEval's prompt); empty where answers stand alone.
        setup: code between answer and tests; MBPP's makes objects of classes that the answer defines.
        tests: code that raises an exception unless the answer is right.
        solution: the benchmark's own answer, in the form an answer has.
    """

    uid: str
    prompt: str
    head: str
    setup: str
    tests: str
    solution: str


def read_problems(path: Path, benchmark: Benchmark) -> list[Problem]:
    """Problems from the published JSON-lines file, packed with gzip or not.

    Raises:
        UserError: no such file, or a line that is no problem; the sentence names file and line.
    """
    make = {"humaneval": _humaneval, "mbpp": _mbpp}[benchmark]
    problems = []
    for number, line in enumerate(read_bytes(path).removesuffix(b"\n").split(b"\n"), start=1):
        try:
            problems.append(make(json.loads(line)))
        except (ValueError, KeyError, TypeError) as error:  # ValueError: no JSON, or not UTF-8
            raise UserError(f"problem file {path}, line {number} is no {benchmark} problem: {error!r}.") from error
    return problems


def program(problem: Problem, answer: str) -> str:
    """The program that ends without an exception if ``answer`` (code, as the problem wants it) is right."""
    return "\n".join([problem.head + answer, problem.setup, problem.tests]) + "\n"


def through_first_block(text: str) -> str:
    """``text`` up to the end of its first fenced block; all of it without one."""
    block = FENCE.search(text)
    return text[: block.end()] if block else text


def closes_block(text: str) -> bool:
    """Whether the first fenced block of ``text`` is closed, after which no continuation changes it."""
    block = FENCE.search(text)
    return block is not None and block.end() > block.end(1)


def code_of(problem: Problem, text: str) -> str:
    """The code in what a model wrote, as an answer to ``problem``.

    The first fenced block if there is one, else the whole text. Where an answer continues a head, a block that states
    the whole function again replaces the one in the head, whose imports stay.
    """
    block = FENCE.search(text)
    code = block.group(1) if block else text
    if problem.head and re.search(r"^\s*(?:async\s+)?def\s", code, re.MULTILINE) is None:
        return code if code.startswith((" ", "\t", "\n")) else "    " + code
    return "\n    pass\n\n" + code if problem.head else code


def official_code(text: str) -> str:
    """The code in what a model wrote, mended as WeGeFT's official HumanEval evaluation does.

    Fences go, tabs become four blanks, triple-quoted strings and blank lines go, and indentation becomes four blanks
    per level, counted from the first line with a ``def``. The result is appended to HumanEval's prompt and works
    because it states the function again. QUIRK: a triple-quoted string that the program needs goes as well.
    """
    bare = re.sub(r"```(?:python|py)?", "", text).replace("\t", "    ")
    bare = re.sub(r'""".*?"""|' + r"'''.*?'''", "", bare, flags=re.DOTALL)
    lines = [line.rstrip() for line in bare.split("\n") if line.strip()]
    return "\n" + "\n".join(_levelled(lines))


def _levelled(lines: Sequence[str]) -> list[str]:
    """``lines`` with four blanks per level of indentation; the first line with a ``def`` is level 0."""
    first = next((index for index, line in enumerate(lines) if "def" in line), 0)
    base = _indent(lines[first]) if lines else 0
    stack, levelled = [0], []
    for line in lines:
        width = max(0, _indent(line) - base)
        while width < stack[-1]:
            stack.pop()
        if width > stack[-1]:
            stack.append(width)
        levelled.append("    " * (len(stack) - 1) + line.lstrip())
    return levelled


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip())


def _humaneval(row: Mapping[str, Any]) -> Problem:
    return Problem(
        uid=row["task_id"],
        prompt=row["prompt"],
        head=row["prompt"],
        setup="",
        tests=f"{row['test']}\ncheck({row['entry_point']})",
        solution=row["canonical_solution"],
    )


def _mbpp(row: Mapping[str, Any]) -> Problem:
    return Problem(
        uid=f"MBPP/{row['task_id']}",
        prompt=row["text"],
        head="",
        setup=row["test_setup_code"],
        tests="\n".join(row["test_list"]),
        solution=row["code"].replace("\r\n", "\n"),
    )
