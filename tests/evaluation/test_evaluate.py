"""A whole evaluation: samples in order, scores that follow from them, refusals before anything is generated."""

import hashlib
import json
import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.evaluation.tiny import tiny_encoder, tiny_llama
from tests.tasks.tiny import SUBSETS, row, text_task, write_data
from wegeft.errors import UserError
from wegeft.evaluation.config import EvaluationConfig
from wegeft.evaluation.evaluate import evaluate_text
from wegeft.evaluation.journal import PARTIAL
from wegeft.evaluation.result import Evaluation, accuracy
from wegeft.evaluation.samples import SAMPLES, read_samples
from wegeft.tasks.text import TextTask

ROWS = [
    row("is rain wet?"),
    row("is fire cold?", "false"),
    row("do fish swim in the sea?"),
    row("is ice hot?", "false"),
]

FREE = ("task.listed_answers=false",)
"""For limits on answers that some of the listed ones exceed."""


class Parrot(nn.Module):
    """A causal language model that writes one fixed answer after every prompt, and then EOS."""

    def __init__(self, answer: str) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))
        self.answer = tiny_encoder()._tokenise([answer])[0] + [tiny_encoder().eos_id]
        self.prompts: list[list[int]] = []

    def forward(self, input_ids: Tensor, attention_mask: Tensor, past_key_values: Any, **_options: Any) -> Any:
        """Logits that point at the next token of the answer; the cache is the number of tokens written."""
        written = _Cache(0) if past_key_values is None else past_key_values
        if written.count == 0:
            rows = zip(input_ids.tolist(), attention_mask.tolist(), strict=True)
            self.prompts += [[token for token, read in zip(*pair, strict=True) if read] for pair in rows]
        logits_BLV = torch.zeros(len(input_ids), 1, 300)
        logits_BLV[:, 0, self.answer[written.count]] = 1000.0
        return _Output(logits_BLV, _Cache(written.count + 1))


class _Cache:
    def __init__(self, count: int) -> None:
        self.count = count

    def batch_select_indices(self, indices: Tensor) -> None:
        """Nothing is kept per row."""


class _Output:
    def __init__(self, logits: Tensor, past_key_values: _Cache) -> None:
        self.logits = logits
        self.past_key_values = past_key_values


def task_on(root: Path, rows: Sequence[dict[str, str]], *overrides: str) -> TextTask:
    return text_task("scale=paper", "protocol=clean", f"data.root={write_data(root, rows)}", *overrides)


def evaluate(model: nn.Module, task: TextTask, folder: Path, *overrides: str, **sizes: Any) -> Evaluation:
    config = EvaluationConfig.model_validate({"batch_size": 4, "merge": True, "limit": None} | sizes)
    return evaluate_text(model, tiny_encoder("clean", *overrides), task, config, folder)


def test_scores_follow_from_the_answers(tmp_path: Path) -> None:
    task = task_on(tmp_path / "data", ROWS)
    found = evaluate(Parrot("the correct answer is true"), task, tmp_path)
    assert list(found.scores) == list(SUBSETS)
    score = found.scores["boolq"]
    assert (score.value, score.n, score.chance) == (0.5, 4, 0.5)
    assert score.stderr == pytest.approx(stdev([1, 0, 1, 0]) / 2)
    assert found.mean == 0.5
    assert found.n == 4 * len(SUBSETS)
    assert found.tokens_generated == found.n * len(Parrot("the correct answer is true").answer)
    assert found.extractor == {"name": "AfterTrigger", "version": "1"}
    assert accuracy("boolq", [True, False, True, False], 0.5) == score


def test_samples_hold_every_answer_in_order(tmp_path: Path) -> None:
    task = task_on(tmp_path / "data", ROWS)
    found = evaluate(Parrot("the correct answer is true"), task, tmp_path)
    assert found.samples_path == tmp_path / SAMPLES
    assert not (tmp_path / PARTIAL).exists()
    samples = read_samples(tmp_path / SAMPLES)
    assert [sample.uid for sample in samples] == [f"{s}/test/{n}" for s in SUBSETS for n in range(len(ROWS))]
    first = json.loads((tmp_path / SAMPLES).read_text().splitlines()[0])
    prompt = ROWS[0]["instruction"] + "\n"
    assert first == {
        "uid": "boolq/test/0",
        "subset": "boolq",
        "prompt_sha256": hashlib.sha256(prompt.encode()).hexdigest(),
        "prompt_ids_n": len(tiny_encoder().encode_prompt(prompt)),
        "text": "the correct answer is true",
        "extracted": "true",
        "gold": "true",
        "score": 1.0,
        "extractor": "AfterTrigger",
        "extractor_version": 1,
        "others": {},
        "repeat": 0,
    }
    assert fmean(sample.score == 1.0 for sample in samples) == found.mean


def test_the_model_reads_the_prompt_ids_that_training_masks(tmp_path: Path) -> None:
    task, model = task_on(tmp_path / "data", ROWS[:1]), Parrot("true")
    evaluate(model, task, tmp_path)
    example = task.test_examples()["boolq"][0]
    encoded = tiny_encoder().encode_example(example)
    prompt = encoded.input_ids[: sum(label == -100 for label in encoded.labels)]
    assert model.prompts == [prompt] * len(SUBSETS)


def test_an_answer_without_the_phrase_is_kept_and_wrong(tmp_path: Path) -> None:
    found = evaluate(Parrot("true"), task_on(tmp_path / "data", ROWS), tmp_path)
    sample = read_samples(tmp_path / SAMPLES)[0]
    assert (sample.text, sample.extracted, sample.score) == ("true", None, 0.0)
    assert found.mean == 0.0


def test_batch_size_changes_no_sample(tmp_path: Path) -> None:
    task = text_task(
        "task.sources.mini.test_rows=6", "task.max_new_tokens=12", "task.test_subsets=[boolq,openbookqa]", *FREE
    )
    files = []
    for batch_size in (1, 4, 16):
        folder = tmp_path / str(batch_size)
        evaluate(tiny_llama(), task, folder, batch_size=batch_size)
        files.append((folder / SAMPLES).read_bytes())
    assert files[0] == files[1] == files[2]
    texts = {sample.text for sample in read_samples(tmp_path / "1" / SAMPLES)}
    assert len(texts) > 10  # the random model does not write the same everywhere


def test_a_limit_takes_the_first_rows_and_shows_in_n(tmp_path: Path) -> None:
    found = evaluate(Parrot("true"), task_on(tmp_path / "data", ROWS), tmp_path, limit=3)
    assert {score.n for score in found.scores.values()} == {3}
    assert [sample.uid for sample in read_samples(tmp_path / SAMPLES)][:4] == [
        "boolq/test/0",
        "boolq/test/1",
        "boolq/test/2",
        "piqa/test/0",
    ]


def test_leaked_sets_are_scored_and_stay_out_of_the_mean(tmp_path: Path) -> None:
    path = write_data(tmp_path / "data", ROWS) / "dataset" / "piqa" / "test.json"
    path.write_text(json.dumps([row("is rain wet?")]))
    task = text_task("scale=paper", f"data.root={tmp_path / 'data'}", "task.leaked_subsets=[piqa]")
    found = evaluate(Parrot("the correct answer is true"), task, tmp_path)
    assert found.scores["piqa"].value == 1.0
    assert found.mean == 0.5


def test_a_second_rule_is_reported_beside_the_first(tmp_path: Path) -> None:
    rule = "{_target_: wegeft.evaluation.extractors.ChoiceLetter, marker: Answer, occurrence: last}"
    task = task_on(tmp_path / "data", [row("Which?", "C")], f"+task.scoring.default.extractors.strict={rule}")
    found = evaluate(Parrot("A guess: the correct answer is C"), task, tmp_path)
    assert found.scores["boolq"].value == found.scores["boolq/strict"].value == 1.0
    assert read_samples(tmp_path / SAMPLES)[0].others == {"strict": {"extracted": "C", "score": 1.0}}
    assert found.as_record()["scores"]["boolq/strict"]["n"] == 1


def test_a_prompt_without_room_is_skipped_counted_and_wrong(tmp_path: Path) -> None:
    task = task_on(tmp_path / "data", [ROWS[0], row("why " * 60)])
    found = evaluate(Parrot("the correct answer is true"), task, tmp_path, "max_length=60", "truncation=skip")
    assert found.too_long == dict.fromkeys(SUBSETS, 1)
    assert found.scores["boolq"].value == 0.5
    assert [sample.text for sample in read_samples(tmp_path / SAMPLES)[:2]] == ["the correct answer is true", ""]


def test_a_prompt_without_room_stops_the_clean_protocol_before_generating(tmp_path: Path) -> None:
    model = Parrot("true")
    with pytest.raises(UserError, match=r"row boolq/test/1: its prompt is \d+ tokens long and protocol\.max_length=60"):
        evaluate(model, task_on(tmp_path / "data", [ROWS[0], row("why " * 60)]), tmp_path, "max_length=60")
    assert model.prompts == []


def test_a_prompt_beyond_the_positions_of_the_backbone_is_named(tmp_path: Path) -> None:
    task = task_on(tmp_path / "data", [ROWS[0], row("why does it " * 40)])
    with pytest.raises(UserError, match=r"row boolq/test/1: .* the backbone's 256 positions .*max_length=223"):
        evaluate(tiny_llama(), task, tmp_path)
    longer = task_on(tmp_path / "others", [ROWS[0]], "task.max_new_tokens=256")
    with pytest.raises(UserError, match=r"256 positions are not enough; set task\.max_new_tokens below 256\."):
        evaluate(tiny_llama(), longer, tmp_path)


def test_an_answer_that_can_never_be_right_is_named(tmp_path: Path) -> None:
    rows = [ROWS[0], row("Which?", "so the correct answer is true")]
    with pytest.raises(UserError, match=r"row boolq/test/1: .* can never be scored right, because AfterTrigger reads"):
        evaluate(Parrot("true"), task_on(tmp_path / "data", rows), tmp_path)


class Killed(Exception):
    pass


class Mortal(Parrot):
    """Does not survive the question after ``lives`` of them."""

    def __init__(self, text: str, lives: int) -> None:
        super().__init__(text)
        self.lives = lives

    def forward(self, *arguments: Any, **options: Any) -> Any:
        if len(self.prompts) > self.lives:
            raise Killed
        return super().forward(*arguments, **options)


def killed_evaluation(folder: Path, lives: int = 8) -> TextTask:
    """A task whose evaluation was killed in ``folder`` after the batch with question number ``lives``."""
    task = task_on(folder / "data", ROWS)
    with pytest.raises(Killed):
        evaluate(Mortal("the correct answer is true", lives), task, folder)
    assert (folder / PARTIAL).is_file()
    assert not (folder / SAMPLES).exists()
    return task


def cut_short(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-9])


def flip_a_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-30] ^= 1
    path.write_bytes(bytes(content))


def overwrite_with_zeros(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-40] + bytes(40))


@pytest.mark.parametrize(
    ("damage", "lost"), [(None, 0), (cut_short, 1), (flip_a_bit, 1), (overwrite_with_zeros, 1), (Path.unlink, 2)]
)
def test_a_killed_evaluation_goes_on_where_it_stopped(
    damage: Callable[[Path], None] | None, lost: int, tmp_path: Path
) -> None:
    """After 8 of 32 answers in batches of 4: a batch with a damaged answer is asked again, whole."""
    whole = evaluate(Parrot("the correct answer is true"), task_on(tmp_path / "w", ROWS), tmp_path / "whole")
    task = killed_evaluation(tmp_path)
    if damage is not None:
        damage(tmp_path / PARTIAL)
    model = Parrot("the correct answer is true")
    found = evaluate(model, task, tmp_path)
    assert len(model.prompts) == 32 - 8 + 4 * lost
    assert (tmp_path / SAMPLES).read_bytes() == (tmp_path / "whole" / SAMPLES).read_bytes()
    assert (found.scores, found.mean, found.tokens_generated) == (whole.scores, whole.mean, whole.tokens_generated)
    assert not (tmp_path / PARTIAL).exists()


def test_several_answers_by_several_ways_to_one_question_are_kept_apart(tmp_path: Path) -> None:
    """Two ways with the same settings, two samples each, killed after every batch once: as if never interrupted."""
    sampled = "{temperature: 1.0, samples: 2, seed: 3}"
    ways = f"+task.decodings={{first: {sampled}, greedy: {{}}, second: {sampled}}}"
    task = text_task(
        "task.sources.mini.test_rows=3", "task.max_new_tokens=6", "task.test_subsets=[boolq,openbookqa]", *FREE, ways
    )
    whole = evaluate(tiny_llama(), task, tmp_path / "whole", batch_size=4)
    model, kept = tiny_llama(), []
    for _ in range(20):
        left = [6 + 1]  # one batch and the beginning of the next

        def count(*_arguments: Any, left: list[int] = left) -> None:
            left[0] -= 1
            if left[0] < 0:
                raise Killed

        with model.register_forward_pre_hook(count):
            try:
                found = evaluate(model, task, tmp_path, batch_size=4)
                break
            except Killed:
                kept.append(len((tmp_path / PARTIAL).read_text().splitlines()) - 1)
    samples = read_samples(tmp_path / SAMPLES)
    assert len(kept) > 3
    assert len(samples) == 2 * 3 * (2 + 1 + 2)
    assert [sample.repeat for sample in samples[:4]] == [0, 1, 0, 1]
    assert samples[0].text != samples[1].text
    assert (tmp_path / SAMPLES).read_bytes() == (tmp_path / "whole" / SAMPLES).read_bytes()
    assert (found.scores, found.tokens_generated) == (whole.scores, whole.tokens_generated)


def test_answers_of_other_weights_or_to_other_questions_are_not_taken(tmp_path: Path) -> None:
    task = killed_evaluation(tmp_path)
    other = Parrot("the correct answer is true")
    nn.init.ones_(other.weight)
    evaluate(other, task, tmp_path)
    assert len(other.prompts) == 32
    killed_evaluation(tmp_path / "again")
    model = Parrot("the correct answer is true")
    evaluate(model, task_on(tmp_path / "new", ROWS[::-1]), tmp_path / "again")
    assert len(model.prompts) == 32


def test_lm_eval_keeps_quiet_and_its_logger_as_it_was(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    level = logging.getLogger("lm_eval").level
    evaluate(Parrot("true"), task_on(tmp_path / "data", ROWS), tmp_path)
    assert logging.getLogger("lm_eval").level == level
    out, err = capfd.readouterr()
    assert out + err == ""


def test_a_broken_samples_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / SAMPLES
    with pytest.raises(UserError, match="there are no samples at"):
        read_samples(path)
    path.write_text("")
    with pytest.raises(UserError, match="holds no samples"):
        read_samples(path)
    path.write_text('{"uid": "a"}\n')
    with pytest.raises(UserError, match=r"samples\.jsonl, line 1 is not a sample"):
        read_samples(path)
    path.write_bytes(b"\xff\n")
    with pytest.raises(UserError, match=r"samples\.jsonl, line 1 is not a sample"):
        read_samples(path)


def test_listed_answers_are_scored_beside_the_free_ones(tmp_path: Path) -> None:
    subsets = ("boolq", "social_i_qa", "openbookqa")
    task = text_task("task.sources.mini.test_rows=8", f"task.test_subsets=[{','.join(subsets)}]")
    assert task.config.listed_answers
    files = []
    for batch_size in (1, 4, 16):
        folder = tmp_path / str(batch_size)
        found = evaluate(tiny_llama(), task, folder, batch_size=batch_size)
        files.append((folder / SAMPLES).read_bytes())
    assert files[0] == files[1] == files[2]
    examples = {example.uid: example for examples in task.test_examples().values() for example in examples}
    samples = [s for s in read_samples(tmp_path / "1" / SAMPLES) if s.subset.endswith("/listed")]
    assert len(samples) == len(examples) == 8 * len(subsets)
    assert all(sample.text in examples[sample.uid].listed for sample in samples)
    assert len({sample.text for sample in samples}) > 5  # no model that knows one answer alone
    assert found.mean == 0.0  # it was never trained to answer
    listed = [found.scores[f"{subset}/listed"] for subset in subsets]
    assert found.other_means == {"listed": fmean(score.value for score in listed)}
    assert found.as_record()["other_means"] == found.other_means
    assert 0.0 < found.other_means["listed"] == fmean(sample.score or 0.0 for sample in samples)
    assert [score.chance for score in listed] == [found.scores[subset].chance for subset in subsets]


def test_a_listed_answer_that_is_too_long_is_named_before_anything_is_generated(tmp_path: Path) -> None:
    model = Parrot("true")
    task = task_on(tmp_path / "data", ROWS, "task.listed_answers=true", "task.max_new_tokens=5")
    with pytest.raises(
        UserError, match=r"row boolq/test/0: the answer 'the correct answer is \w+', which it lists, takes"
    ):
        evaluate(model, task, tmp_path)
    assert model.prompts == []
