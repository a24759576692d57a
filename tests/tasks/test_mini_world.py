"""The mini world's rows: the same everywhere, in the real templates, without shortcuts, no test entity while tuning."""

import json
import os
import re
import subprocess
import sys
from collections import Counter, defaultdict
from pathlib import Path

import pytest

from wegeft.tasks.mini_world import MiniWorldSource, Row
from wegeft.tasks.mini_world.commonsense import LABELLED, ROWS, SUBSETS, chance, items
from wegeft.tasks.mini_world.lexicon import PROPERTIES, RULES
from wegeft.tasks.mini_world.templates import instruction
from wegeft.tasks.mini_world.world import World, build_world

# What stands around the contents of each real set (LLM-Adapters, dataset/<set>/train.json); X is any content.
REAL_TEMPLATES = {
    "boolq": "Please answer the following question with true or false, question: X?\n\nAnswer format: true/false",
    "piqa": "Please choose the correct solution to the question: X\n\nSolution1: X\n\nSolution2: X\n\n"
    "Answer format: solution1/solution2",
    "social_i_qa": "Please choose the correct answer to the question: X\n\nAnswer1: X Answer2: X Answer3: X\n\n"
    "Answer format: answer1/answer2/answer3",
    "hellaswag": "Please choose the correct ending to complete the given sentence: X\n\n"
    "Ending1: X Ending2: X Ending3: X Ending4: X\n\nAnswer format: ending1/ending2/ending3/ending4",
    "winogrande": "Please choose the correct answer to fill in the blank to complete the given sentence: X\n\n"
    "Option1: X Option2: X Answer format: option1/option2",
    **dict.fromkeys(
        ("ARC-Easy", "ARC-Challenge", "openbookqa"),
        "Please choose the correct answer to the question: X\n\nAnswer1: X Answer2: X Answer3: X Answer4: X\n\n"
        "Answer format: answer1/answer2/answer3/answer4",
    ),
}
WORD = re.compile(r"[A-Za-z]+")
CLAIMED = re.compile(r"(\w+) and not a (\w+)\?")


@pytest.fixture(scope="module")
def world() -> World:
    return build_world(0)


@pytest.fixture(scope="module")
def source() -> MiniWorldSource:
    return MiniWorldSource("commonsense")


def pattern(subset: str) -> re.Pattern[str]:
    """The template of `subset`; contents have no double newline (real ones may have)."""
    text = re.escape(REAL_TEMPLATES[subset]).replace("X", "(.+?)")
    return re.compile(text, re.DOTALL)


def words(row: Row) -> set[str]:
    return set(WORD.findall(row["instruction"] + " " + row["output"]))


def options(row: Row) -> list[str]:
    """The options of a row in order, cut out of the instruction."""
    body = row["instruction"].split("Answer format:")[0]
    return [o.strip() for o in re.split(r"(?:Answer|Solution|Ending|Option)\d: ", body)[1:]]


def gold(subset: str, row: Row) -> int:
    if subset == "boolq":
        return ("true", "false").index(row["answer"])
    return int(row["answer"][-1]) - 1 if subset in LABELLED else options(row).index(row["answer"])


@pytest.mark.parametrize("family", ["commonsense", "arithmetic"])
def test_rows_do_not_depend_on_the_process(family: str) -> None:
    code = f"from wegeft.tasks.mini_world import MiniWorldSource as S; print(S({family!r}).content_hash())"
    hashes = [
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    ]
    assert hashes[0] == hashes[1]
    assert len(hashes[0].strip()) == 64


def test_another_seed_is_another_world() -> None:
    assert MiniWorldSource("commonsense", 1).content_hash() != MiniWorldSource("commonsense", 0).content_hash()


def test_importing_the_source_does_not_import_torch() -> None:
    code = (
        "import sys; from wegeft.tasks.mini_world import MiniWorldSource as S; S('arithmetic');"
        "print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_an_unknown_family_is_named_with_the_choices() -> None:
    with pytest.raises(ValueError, match="choose from commonsense, arithmetic"):
        MiniWorldSource("vision")  # type: ignore[arg-type]  # what a caller without a type checker may write


@pytest.mark.parametrize("subset", SUBSETS)
def test_rows_have_the_schema_the_sizes_and_no_duplicates(source: MiniWorldSource, subset: str) -> None:
    for split, count in ROWS.items():
        rows = source.rows(subset, split)
        assert len({row["instruction"] for row in rows}) == len(rows) == count
        assert {tuple(row) for row in rows} == {("instruction", "input", "output", "answer")}
        assert all(row["input"] == "" for row in rows)
        assert all(row["output"] == f"the correct answer is {row['answer']}" for row in rows)


@pytest.mark.parametrize("subset", SUBSETS)
def test_with_labels_every_instruction_is_in_the_template_of_the_real_set(world: World, subset: str) -> None:
    for item in items(world, subset, "test"):
        assert pattern(subset).fullmatch(instruction(item, labelled=True))


@pytest.mark.parametrize("subset", SUBSETS)
def test_the_template_is_the_one_of_the_real_rows(real_data: Path, subset: str) -> None:
    path = real_data / "llm_adapters" / "dataset" / subset / "train.json"
    rows = json.loads(path.read_text())[:200]
    # A few real ARC questions have three or five options; all others must match.
    assert sum(bool(pattern(subset).fullmatch(row["instruction"])) for row in rows) > 0.97 * len(rows)


@pytest.mark.parametrize("subset", sorted(set(SUBSETS) - LABELLED))
def test_without_labels_only_the_last_line_differs(source: MiniWorldSource, subset: str) -> None:
    head = REAL_TEMPLATES[subset].rsplit("Answer format:", 1)[0]
    with_words = re.compile(
        re.escape(head).replace("X", ".+?") + r"Answer\ format:\ the\ words\ of\ the\ (answer|ending)"
    )
    for row in source.rows(subset, "train"):
        assert with_words.fullmatch(row["instruction"])
        assert row["answer"] in options(row)


def test_three_subsets_keep_the_labels_of_the_real_sets(source: MiniWorldSource) -> None:
    assert {"boolq", "piqa", "winogrande"} == LABELLED
    for subset in LABELLED:
        allowed = REAL_TEMPLATES[subset].rsplit("Answer format: ", 1)[1].split("/")
        assert {row["answer"] for row in source.rows(subset, "train")} == set(allowed)


@pytest.mark.parametrize("subset", SUBSETS)
def test_no_test_entity_is_named_in_fine_tuning_and_no_other_in_the_test(
    source: MiniWorldSource, world: World, subset: str
) -> None:
    held_out = {e.name for e in world.entities if e.held_out}
    others = {e.name for e in world.entities if not e.held_out}
    assert not any(words(row) & held_out for row in source.rows(subset, "train"))
    assert not any(words(row) & others for row in source.rows(subset, "test"))
    assert all(words(row) & held_out for row in source.rows(subset, "test"))


@pytest.mark.parametrize("subset", SUBSETS)
@pytest.mark.parametrize("split", ["train", "test"])
def test_the_position_of_the_right_option_is_balanced(source: MiniWorldSource, subset: str, split: str) -> None:
    rows = source.rows(subset, "train" if split == "train" else "test")
    counts = Counter(gold(subset, row) for row in rows)
    assert len(counts) == round(1 / chance(subset))
    assert max(counts.values()) - min(counts.values()) <= 1


@pytest.mark.parametrize("subset", sorted(set(SUBSETS) - {"boolq"}))
def test_the_right_option_is_right_and_the_others_are_wrong(world: World, subset: str) -> None:
    values = {v for p in PROPERTIES for v in p.values} | {v for r in RULES for v in r.values}
    for item in items(world, subset, "test"):
        assert len(set(item.options)) == len(item.options)
        assert values.issuperset(map(bare, item.options))
        assert [bare(option) in item.reason for option in item.options].index(True) == item.gold


def test_a_claim_is_true_when_the_right_value_is_the_one_it_does_not_deny(world: World) -> None:
    for item in items(world, "boolq", "test"):
        ((claimed, denied),) = CLAIMED.findall(item.text + "?")
        assert [claimed in item.reason, denied in item.reason] == [item.gold == 0, item.gold == 1]


def bare(option: str) -> str:
    """The value in an option."""
    return option.removeprefix("use a ").removesuffix(" coins")


@pytest.mark.parametrize("subset", SUBSETS)
def test_option_words_alone_do_not_give_the_answer_away(source: MiniWorldSource, subset: str) -> None:
    """How often each word was right in fine-tuning rows must not predict which option is right in a test row."""
    seen: dict[tuple[str, int], list[int]] = defaultdict(lambda: [1, 2])
    for row in source.rows(subset, "train"):
        for i, key in enumerate(cues(subset, row)):
            seen[key][0] += gold(subset, row) == i
            seen[key][1] += 1
    right = 0
    test = source.rows(subset, "test")
    for row in test:
        scores = [seen[key][0] / seen[key][1] for key in cues(subset, row)]
        right += scores.index(max(scores)) == gold(subset, row)
    assert right / len(test) < chance(subset) + 0.13


def cues(subset: str, row: Row) -> list[tuple[str, int]]:
    """What a guesser without knowledge could go by: the two values of a claim (boolq), the words of each option."""
    if subset == "boolq":
        return [(value, 0) for value in CLAIMED.findall(row["instruction"])[0]]
    return [(option, 0) for option in options(row)]


def test_chance_is_one_over_the_number_of_options() -> None:
    assert {s: round(1 / chance(s)) for s in SUBSETS} == {
        "boolq": 2,
        "piqa": 2,
        "social_i_qa": 3,
        "hellaswag": 4,
        "winogrande": 2,
        "ARC-Easy": 4,
        "ARC-Challenge": 4,
        "openbookqa": 4,
    }


def test_the_challenge_takes_two_steps(world: World) -> None:
    """No wording of a single fact about the entity contains the answer."""
    by_name = {e.name: e for e in world.entities}
    for item in items(world, "ARC-Challenge", "test"):
        (entity,) = [by_name[w] for w in WORD.findall(item.text) if w in by_name]
        told = {word for fact in entity.all_facts() for s in fact.sentences() for word in WORD.findall(s)}
        assert item.options[item.gold] not in told
