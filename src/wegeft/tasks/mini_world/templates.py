"""The instruction templates of the eight commonsense sets (LLM-Adapters, `dataset/*/train.json`).

One deviation, and only in the subsets outside `LABELLED`: there the answer is the option's own words, and the
last line says "Answer format: the words of the answer" where the real sets list the labels. Nothing here
knows about entities or facts.
"""

from dataclasses import dataclass
from typing import Final

SUBSETS: Final = (
    "boolq",
    "piqa",
    "social_i_qa",
    "hellaswag",
    "winogrande",
    "ARC-Easy",
    "ARC-Challenge",
    "openbookqa",
)
# Binding a label to an option is a skill of its own for a model this small; these keep the labels of the real sets.
LABELLED: Final = frozenset({"boolq", "piqa", "winogrande"})
OPTION_COUNTS: Final = {
    "boolq": 2,
    "piqa": 2,
    "social_i_qa": 3,
    "hellaswag": 4,
    "winogrande": 2,
    "ARC-Easy": 4,
    "ARC-Challenge": 4,
    "openbookqa": 4,
}
OPTION_WORDS: Final = {
    "boolq": "Answer",
    "piqa": "Solution",
    "social_i_qa": "Answer",
    "hellaswag": "Ending",
    "winogrande": "Option",
    "ARC-Easy": "Answer",
    "ARC-Challenge": "Answer",
    "openbookqa": "Answer",
}
_LEADS: Final = {
    "piqa": "Please choose the correct solution to the question:",
    "hellaswag": "Please choose the correct ending to complete the given sentence:",
    "winogrande": "Please choose the correct answer to fill in the blank to complete the given sentence:",
}
_CHOOSE_ANSWER: Final = "Please choose the correct answer to the question:"


@dataclass(frozen=True)
class Item:
    """One question.

    Its text, the options, the position of the right one, and the sentence that makes it right.
    """

    subset: str
    text: str
    options: tuple[str, ...]
    gold: int
    reason: str


def label(subset: str, position: int) -> str:
    """The label of the option at `position` (0-based): answer1, solution2, ...; true and false for boolq."""
    if subset == "boolq":
        return ("true", "false")[position]
    return f"{OPTION_WORDS[subset].lower()}{position + 1}"


def answer(item: Item, labelled: bool) -> str:
    """What has to be answered: the label, or the option's own words."""
    return label(item.subset, item.gold) if labelled else item.options[item.gold]


def answer_format(subset: str, labelled: bool) -> str:
    """The last line of an instruction."""
    if labelled:
        return "Answer format: " + "/".join(label(subset, i) for i in range(OPTION_COUNTS[subset]))
    return f"Answer format: the words of the {OPTION_WORDS[subset].lower()}"


def option_list(subset: str, options: tuple[str, ...]) -> str:
    """The labelled options: on one line, or in paragraphs of their own (piqa)."""
    separator = "\n\n" if subset == "piqa" else " "
    return separator.join(f"{OPTION_WORDS[subset]}{i + 1}: {option}" for i, option in enumerate(options))


def instruction(item: Item, labelled: bool) -> str:
    """The whole instruction, byte for byte as the real sets write it (see `LABELLED` for the one deviation)."""
    last = answer_format(item.subset, labelled)
    if item.subset == "boolq":
        return f"Please answer the following question with true or false, question: {item.text}?\n\n{last}"
    head = f"{_LEADS.get(item.subset, _CHOOSE_ANSWER)} {item.text}\n\n{option_list(item.subset, item.options)}"
    # WinoGrande alone has the format on the line of the options.
    return f"{head} {last}" if item.subset == "winogrande" else f"{head}\n\n{last}"
