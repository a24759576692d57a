"""MetaMathQA: which rows are used, how they are asked, and that every gold answer can be read."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from transformers import PreTrainedTokenizerBase

from tests.evaluation.tiny import tiny_encoder, tiny_llama
from tests.tasks.tiny import protocol, text_task
from wegeft.errors import UserError
from wegeft.evaluation.checks import check_gold
from wegeft.evaluation.config import EvaluationConfig
from wegeft.evaluation.evaluate import evaluate_text
from wegeft.evaluation.rescore import rescore
from wegeft.evaluation.samples import SAMPLES, read_samples
from wegeft.tasks.encoding import IGNORE_INDEX, TextEncoder
from wegeft.tasks.text import TextTask
from wegeft.tasks.text_prepared import PreparedText

PAPER = ("task=metamath", "scale=paper", "protocol=v5_math_code")


def metamath_row(kind: str, query: str, answer: str) -> dict[str, str]:
    return {"type": kind, "query": query, "response": f"So it is.\n#### {answer}\nThe answer is: {answer}"}


ROWS = [
    metamath_row("GSM_Rephrased", "How many?", "7"),
    metamath_row("MATH_AnsAug", "What is x?", "\\frac{1}{2}"),
    metamath_row("GSM_SV", "How many " + "and how many " * 30 + "?", "8"),
    metamath_row("GSM_FOBAR", "How much?", "1,000"),
    metamath_row("GSM_AnsAug", "How long?", "9"),
]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """MetaMathQA of five rows, GSM8K of two and MATH of one, as their authors write them."""
    contents: dict[str, Any] = {
        "metamath/MetaMathQA-395K.json": json.dumps(ROWS),
        "math/test/gsm8k_test_original.jsonl": "".join(
            json.dumps({"question": f"Q{n}?", "answer": f"Thus.\n#### {n}"}) + "\n" for n in ("57,500", "3")
        ),
        "math/test/MATH500.jsonl": json.dumps(
            {"problem": "1/2?", "solution": "It is $\\boxed{\\frac12}$.", "answer": ""}
        ),
    }
    for name, content in contents.items():
        path = tmp_path / "data" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    return tmp_path / "data"


def task_on(root: Path, *overrides: str) -> TextTask:
    return text_task(*PAPER, f"data.root={root}", "task.test_subsets=[gsm8k,math500]", *overrides)


def test_gsm_rows_alone_are_used_and_cut_before_the_announcement(root: Path) -> None:
    examples = task_on(root).train_examples()
    assert [e.uid for e in examples] == ["gsm/train/0", "gsm/train/2", "gsm/train/3", "gsm/train/4"]
    assert examples[0].prompt == "Q: How many?\nA:  "
    assert examples[0].target == "So it is.\n#### 7"


def test_all_rows_can_be_used_as_published(root: Path) -> None:
    examples = task_on(root, "task.train_subsets=[all]", "task.accept.rows=null").train_examples()
    assert len(examples) == len(ROWS)
    assert examples[1].target == ROWS[1]["response"]


def test_the_first_rows_that_are_short_enough_are_accepted_and_the_others_counted(root: Path) -> None:
    task = task_on(root, "task.accept.below_tokens=150", "task.accept.rows=2", "task.max_new_tokens=8")
    prepared = PreparedText(task, tiny_encoder("v5_math_code"), tiny_llama())
    decoded = [tiny_encoder().decode(item.input_ids) for item in prepared.train_items]
    assert [text.partition("?")[0] for text in decoded] == ["Q: How many", "Q: How much"]
    assert prepared.remarks() == {"train_rows_too_long_for_the_task": 1, "train_rows_left_over": 1}
    assert task_on(root).expected_train_examples() == 100_000


@pytest.mark.parametrize(
    ("row", "sentence"),
    [
        ({"type": "GSM_SV", "query": "?"}, "row 5 has no text field `response`"),
        ({"type": "GSM_SV", "query": "?", "response": "7"}, r"row 5: its response does not say `The answer is: `"),
        ({"query": "?", "response": "The answer is: 7"}, "row 5 has no text field `type`"),
        (metamath_row("GSM_SV", "?", " "), "row 5 has an empty `answer`"),
        ([], "row 5 is a list, not an object"),
    ],
)
def test_a_broken_row_is_named(root: Path, row: Any, sentence: str) -> None:
    (root / "metamath/MetaMathQA-395K.json").write_text(json.dumps([*ROWS, row]))
    with pytest.raises(UserError, match=sentence):
        task_on(root).train_examples()


def test_an_unknown_subset_is_refused(root: Path) -> None:
    with pytest.raises(UserError, match="no subset math; choices: gsm, all"):
        task_on(root, "task.train_subsets=[math]").train_examples()


def test_it_is_answered_by_sampling_and_greedily_and_read_by_both_rules(root: Path, tmp_path: Path) -> None:
    task = task_on(root, "task.max_new_tokens=8", "seed=7")
    assert task.config.decodings["sampled"].seed == 7
    config = EvaluationConfig(batch_size=2, merge=True, limit=None)
    found = evaluate_text(tiny_llama(), tiny_encoder("v5_math_code"), task, config, tmp_path)
    names = ["gsm8k", "gsm8k/clean", "math500", "gsm8k/greedy", "gsm8k/greedy/clean", "math500/greedy"]
    assert list(found.scores) == names
    assert found.mean == found.scores["gsm8k"].value
    samples = read_samples(tmp_path / SAMPLES)
    assert [sample.subset for sample in samples] == ["gsm8k"] * 2 + ["math500"] + ["gsm8k/greedy"] * 2 + [
        "math500/greedy"
    ]
    assert samples[0].text != samples[3].text
    again = rescore(samples, task)
    assert again.flips == ()
    assert again.mean_after == found.mean
    assert {name: score.value for name, score in again.after.items()} == {
        name: found.scores[name].value for name in again.after
    }


def test_the_official_reading_of_a_gold_answer_stops_at_its_comma(root: Path) -> None:
    rules = task_on(root).rules("gsm8k")
    assert {name: comparison for name, (_, comparison) in rules.items()} == {
        "official": "leading_integer",
        "clean": "number",
    }
    check_gold(task_on(root), task_on(root).test_examples())


def test_every_published_question_has_an_answer_that_its_rules_read(real_data: Path) -> None:
    task = text_task(*PAPER, f"data.root={real_data}")
    sets = task.test_examples()
    assert {subset: len(examples) for subset, examples in sets.items()} == {"gsm8k": 1319, "math": 5000, "math500": 500}
    check_gold(task, sets)


@pytest.mark.parametrize("first_word", ["So", "12", "$x$", "the"])
def test_the_ids_of_the_official_code_are_ours(
    llama2_tokenizer: PreTrainedTokenizerBase, root: Path, first_word: str
) -> None:
    """Official: x ends in a blank, another joins it to y in training or follows it in generation, and x is masked."""
    encoder = TextEncoder(llama2_tokenizer, protocol("v5_math_code"))
    example = task_on(root).train_examples()[0]
    example = replace(example, target=f"{first_word} {example.target}")
    x, y = example.prompt[:-1], example.target

    def official_ids(text: str) -> list[int | None]:
        return [encoder.bos_id, *llama2_tokenizer(text, add_special_tokens=False).input_ids]

    encoded = encoder.encode_example(example)
    assert encoded.input_ids == [*official_ids(f"{x} {y}"), encoder.eos_id]
    assert encoded.labels.count(IGNORE_INDEX) == len(official_ids(x))
    assert encoder.encode_prompt(example.prompt) == official_ids(x + " ")


def test_no_published_question_reaches_the_limit_of_the_official_evaluation(
    llama2_tokenizer: PreTrainedTokenizerBase, real_data: Path
) -> None:
    """It cuts prompts at 768 tokens; ours are never cut, which is the same."""
    task = text_task(*PAPER, f"data.root={real_data}", "task.test_subsets=[gsm8k]")
    prompts = [example.prompt for example in task.test_examples()["gsm8k"]]
    encoder = TextEncoder(llama2_tokenizer, protocol("v5_math_code"))
    assert max(len(ids) for ids in encoder.encode_prompts(prompts).input_ids) < 768


def test_the_recipe_of_the_paper_takes_what_is_shorter_than_512_tokens(root: Path) -> None:
    """The published count has BOS and no EOS: a row of 511 such tokens is used, one of 512 is not."""
    task = text_task("+experiment=metamath_paper", f"data.root={root}")
    assert task.config.accept is not None
    assert (task.config.accept.below_tokens, task.config.accept.rows) == (512, 100_000)
    encoder = tiny_encoder("v5_math_code").skipping_from(512)
    example = task.train_examples()[0]
    short = len(encoder.encode_prompt(example.prompt))
    fits, too_long = (replace(example, target="\u0001" * (count - short)) for count in (511, 512))
    found = encoder.encode_examples([fits, too_long])
    assert (len(found), len(found.skipped)) == (1, 1)
