"""Test questions that stand in the training set: exactly, and after normalisation.

Normalised are questions that differ only in case, punctuation and white space. A question is the rendered prompt, so a
multiple-choice question counts only with its choices.

Does not: look for paraphrases, or drop anything.
"""

import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table
from rich.text import Text

from wegeft.errors import UserError
from wegeft.evaluation.compare import same_number, same_text
from wegeft.tasks.base import Example, Task
from wegeft.tasks.text import TextTask


@dataclass(frozen=True)
class Overlap:
    """What one test set shares with the training set.

    Attributes:
        subset: the test set.
        questions: its size.
        exact: (test uid, training uid) of every question that stands in the training set to the letter.
        normalised: the same after normalisation; holds the exact ones.
        same_answer: how many of ``normalised`` have the same gold answer in training.
    """

    subset: str
    questions: int
    exact: tuple[tuple[str, str], ...]
    normalised: tuple[tuple[str, str], ...]
    same_answer: int


@dataclass(frozen=True)
class Contamination:
    """The overlap of a task's training set with all of its test sets.

    Attributes:
        train_questions: size of the training set.
        contaminated_rows: uids of training rows whose question, normalised, is a test question.
        overlaps: by test set.
    """

    train_questions: int
    contaminated_rows: tuple[str, ...]
    overlaps: tuple[Overlap, ...]


def contamination(task: Task) -> Contamination:
    """Compare every test question of ``task`` with every training question.

    Raises:
        UserError: data missing or broken, or a task that asks nothing in words.
    """
    if not isinstance(task, TextTask):
        raise UserError(f"task={task.name} has no questions in words to compare.")
    train = task.train_examples()
    sets = task.test_examples()
    letters, words = _index(train, str), _index(train, normalise)
    tested = {normalise(example.prompt) for examples in sets.values() for example in examples}
    return Contamination(
        train_questions=len(train),
        contaminated_rows=tuple(e.uid for key, found in words.items() if key in tested for e in found),
        overlaps=tuple(_overlap(subset, examples, letters, words) for subset, examples in sets.items()),
    )


def normalise(text: str) -> str:
    """``text`` in lower case, compatibility forms unified, with single blanks and without punctuation.

    Signs of arithmetic and points within numbers stay: "3 - 2.5" is not "3 + 25".
    """
    folded = unicodedata.normalize("NFKC", text).casefold()
    for pattern in (r"(?<!\d)\.|\.(?!\d)", r"(?<=[^\W\d])-(?=[^\W\d])", r"[^\w\s+\-*/=<>^%.]"):
        folded = re.sub(pattern, " ", folded)
    return " ".join(folded.split())


def print_contamination(found: Contamination, console: Console, examples: int = 3) -> None:
    """A line per test set, and the first ``examples`` pairs of each."""
    table = Table("test set", "questions", "in training, exact", "normalised", "with the same answer")
    for part in found.overlaps:
        counts = (part.questions, len(part.exact), len(part.normalised), part.same_answer)
        table.add_row(part.subset, *(f"{count:,}" for count in counts))
    console.print(table)
    for part in found.overlaps:
        for test_uid, train_uid in part.normalised[:examples]:
            console.print(Text(f"{test_uid} = {train_uid}"))
    share = f"{len(found.contaminated_rows):,} of {found.train_questions:,}"
    console.print(f"{share} training rows ask a test question.")


def _index(train: Sequence[Example], key: Callable[[str], str]) -> dict[str, list[Example]]:
    """Training examples by the key of their prompts."""
    found: dict[str, list[Example]] = {}
    for example in train:
        found.setdefault(key(example.prompt), []).append(example)
    return found


def _overlap(
    subset: str,
    questions: Sequence[Example],
    letters: Mapping[str, Sequence[Example]],
    words: Mapping[str, Sequence[Example]],
) -> Overlap:
    exact = [(question, letters[question.prompt][0]) for question in questions if question.prompt in letters]
    keyed = [(question, normalise(question.prompt)) for question in questions]
    normalised = [(question, words[key][0]) for question, key in keyed if key in words]
    return Overlap(
        subset=subset,
        questions=len(questions),
        exact=tuple((question.uid, trained.uid) for question, trained in exact),
        normalised=tuple((question.uid, trained.uid) for question, trained in normalised),
        same_answer=sum(_same_answer(question, trained) for question, trained in normalised),
    )


def _same_answer(question: Example, trained: Example) -> bool:
    return same_text(question.gold, trained.gold) or same_number(question.gold, trained.gold)
