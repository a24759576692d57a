"""Training rows that ask test questions are found, exactly and after normalisation."""

import io
from pathlib import Path

import pytest
from rich.console import Console

from tests.tasks.tiny import row, text_task, write_data
from wegeft.tasks.contamination import Contamination, contamination, normalise, print_contamination

LEAKED = {"AQuA": 203, "gsm8k": 1055, "mawps": 0, "SVAMP": 800, "AddSub": 316, "MultiArith": 491, "SingleEq": 406}


def counts(found: Contamination) -> dict[str, tuple[int, int]]:
    return {part.subset: (len(part.exact), len(part.normalised)) for part in found.overlaps}


@pytest.mark.parametrize(
    ("left", "right", "same"),
    [
        ("Do fish  swim?\n", "do fish swim", True),
        ("a well-known fact.", "a well known fact", True),
        ("\uff21 \u201cquoted\u201d word", 'a "quoted" word', True),
        ("It costs $2.50 .", "it costs 2.50.", True),
        ("3 - 2", "3 + 2", False),
        ("2.5 apples", "25 apples", False),
        ("x = 3", "x > 3", False),
        ("do fish swim", "do fish fly", False),
    ],
)
def test_normalisation(left: str, right: str, same: bool) -> None:
    assert (normalise(left) == normalise(right)) is same


def test_every_row_of_the_contaminated_arithmetic_set_is_found(real_data: Path, tmp_path: Path) -> None:
    """LLM-Adapters once shipped math_data.json, whose 3,260 questions are all test questions of its own sets.

    MAWPS shows why exact comparison is not enough: none of its questions is there to the letter, 129 are with other
    spacing, through the sets that MAWPS was made from.
    """
    (tmp_path / "ft-training_set").mkdir()
    (tmp_path / "dataset").symlink_to(real_data / "llm_adapters" / "dataset")
    (tmp_path / "ft-training_set" / "math_10k.json").symlink_to(
        real_data / "math" / "contaminated" / "llm_adapters_math_data_3260.json"
    )
    overrides = (f"data.root={tmp_path}", "task.sources.paper.require_expected=false")
    found = contamination(text_task("task=math10k", "scale=paper", *overrides))
    assert found.train_questions == len(found.contaminated_rows) == 3260
    assert {subset: exact for subset, (exact, _) in counts(found).items()} == LEAKED
    assert counts(found)["mawps"] == (0, 129)
    for part in found.overlaps:
        assert part.same_answer == len(part.normalised)
        assert {test for test, _ in part.exact} <= {test for test, _ in part.normalised}


def test_the_small_real_sets_share_two_questions(real_data: Path) -> None:
    """Real duplicates in the published ARC-Easy; the check reports them, the protocol keeps them."""
    root = real_data / "llm_adapters"
    sets = "[ARC-Easy,ARC-Challenge,openbookqa]"
    overrides = (f"data.root={root}", f"task.train_subsets={sets}", f"task.test_subsets={sets}")
    found = contamination(text_task("scale=paper", *overrides))
    assert counts(found) == {"ARC-Easy": (2, 2), "ARC-Challenge": (0, 0), "openbookqa": (0, 0)}
    assert dict(found.overlaps[0].exact) == {
        "ARC-Easy/test/242": "ARC-Easy/train/1087",
        "ARC-Easy/test/493": "ARC-Easy/train/2246",
    }


@pytest.mark.parametrize("name", ["commonsense", "math10k"])
def test_the_mini_world_asks_no_test_question_in_training(name: str) -> None:
    found = contamination(text_task(f"task={name}"))
    assert found.contaminated_rows == ()
    assert set(counts(found).values()) == {(0, 0)}


def test_a_question_with_another_answer_is_counted_apart(tmp_path: Path) -> None:
    root = write_data(tmp_path, [row("is rain wet?", "true")])
    (root / "dataset" / "boolq" / "train.json").write_text(
        '[{"instruction": "Is rain wet\\n\\nAnswer format: true/false", "input": "", "output": "x", "answer": "false"}]'
    )
    overrides = (f"data.root={root}", "task.train_subsets=[boolq]", "task.test_subsets=[boolq]")
    found = contamination(text_task("scale=paper", *overrides))
    assert counts(found) == {"boolq": (0, 1)}
    assert found.overlaps[0].same_answer == 0
    console = Console(file=io.StringIO(), width=120)
    print_contamination(found, console)
    text: str = console.file.getvalue()  # type: ignore[attr-defined]  # it is the StringIO above
    assert "boolq/test/0 = boolq/train/0" in text
    assert "1 of 1 training rows ask a test question." in text
