"""How many questions are answered together: as configured, as memory holds, and half of it where it does not."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.composing import run_config
from tests.evaluation.test_evaluate import evaluate
from tests.evaluation.test_generate import GREEDY, NEW_TOKENS, PROMPTS, encoder_that_stops, fast
from tests.evaluation.tiny import tiny_llama
from tests.tasks.tiny import text_task
from wegeft.errors import UserError
from wegeft.evaluation.batch_size import GPU_MOST, BatchSize, bytes_of_a_row, rows_on_cpu, rows_on_gpu
from wegeft.evaluation.config import CPU_MOST, EvaluationConfig
from wegeft.evaluation.engine import Questions
from wegeft.evaluation.in_process import InProcess
from wegeft.evaluation.samples import SAMPLES
from wegeft.planning.estimate import Estimator

GIB = 1 << 30


def config_of(batch_size: Any) -> EvaluationConfig:
    return EvaluationConfig.model_validate({"batch_size": batch_size, "merge": True, "limit": None})


class SmallDevice(nn.Module):
    """The tiny Llama on a device that is out of memory with more than so many rows, or from a number of passes on."""

    def __init__(self, rows: int, fails_at: int | None = None) -> None:
        super().__init__()
        self.llama = tiny_llama()
        self.config = self.llama.config
        self.rows = rows
        self.fails_at = fails_at
        self.asked: list[int] = []
        self.prompts: list[int] = []

    def forward(self, input_ids: Tensor, position_ids: Tensor, **options: Any) -> Any:
        """As the Llama, where there is room."""
        self.asked.append(len(input_ids))
        self.prompts.append(len(input_ids) if input_ids.shape[1] > 1 else 0)
        if len(input_ids) > self.rows or len(self.asked) == self.fails_at:
            raise torch.OutOfMemoryError("no room")
        return self.llama(input_ids=input_ids, position_ids=position_ids, logits_to_keep=1, **options)


def answered(model: nn.Module, batch_size: int | str) -> tuple[list[list[int]], int]:
    """The answers to all prompts, and the batch size that they were given with."""
    encoder = encoder_that_stops()
    prompts = encoder.encode_prompts(PROMPTS).input_ids
    engine = InProcess(model, encoder, config_of(batch_size))
    session = engine.ask(Questions(prompts, ["set"] * len(prompts), [""] * len(prompts), NEW_TOKENS, GREEDY))
    found = {p: ids for batch in session.batches for p, ids in zip(batch, session.answer(batch), strict=True)}
    return [found[position] for position in range(len(prompts))], engine.batch_size


@pytest.mark.parametrize("batch_size", [8, "auto"])
def test_half_as_many_go_on_where_memory_runs_out(batch_size: int | str, capsys: pytest.CaptureFixture[str]) -> None:
    expected, small = fast(encoder_that_stops(), 1), SmallDevice(rows=2)
    assert answered(small, batch_size) == (expected, 2)
    lines = capsys.readouterr().err.splitlines()
    assert lines[-1] == "out of memory: going on with evaluation.batch_size=2"
    assert len(lines) == sum(rows > 2 for rows in small.asked)  # one line each, and never tried again


def test_answers_that_were_finished_before_are_not_asked_again() -> None:
    expected = fast(encoder_that_stops(), 1)
    shortest = min(len(ids) for ids in expected)
    small = SmallDevice(rows=16, fails_at=shortest + 2)
    assert answered(small, 16) == (expected, 6)
    again = small.asked[shortest + 2 :]
    finished = sum(len(ids) == shortest for ids in expected)
    assert max(again) <= 6
    assert 0 < finished < len(expected)
    # A pass over prompts is longer than the one token of a step; the finished prompts are in none of the later ones.
    assert sum(small.prompts[shortest + 2 :]) == len(expected) - finished


def test_one_question_that_does_not_fit_ends_in_one_sentence() -> None:
    with pytest.raises(UserError, match=r"memory does not hold the answer to one question"):
        answered(SmallDevice(rows=0), 4)


def test_parts_come_back_in_order() -> None:
    size = BatchSize(config_of(8), tiny_llama())

    def doubled(part: Sequence[int]) -> list[int]:
        if len(part) > 3:
            raise torch.OutOfMemoryError("no room")
        return [2 * position for position in part]

    assert size.in_parts(range(8), doubled) == [2 * position for position in range(8)]
    assert size.used == 2


def test_automatic_sizes_follow_memory_within_bounds() -> None:
    assert [rows_on_gpu(free * GIB, GIB) for free in (0, 1, 2, 5, 11, 100_000)] == [1, 1, 1, 4, 8, GPU_MOST]
    assert [rows_on_cpu(free * GIB, GIB) for free in (0, 4, 23, 100_000)] == [1, 1, 5, CPU_MOST]


@torch.inference_mode()
def test_a_row_takes_at_least_its_cache() -> None:
    model: Any = tiny_llama()
    cache = model(input_ids=torch.ones(1, 20, dtype=torch.int64), use_cache=True).past_key_values
    own = sum(layer.keys.nbytes + layer.values.nbytes for layer in cache.layers)
    row, longer = bytes_of_a_row(model, 12, 8), bytes_of_a_row(model, 12, 9)
    assert row is not None
    assert longer is not None
    assert longer - row == 2 * own / 20
    assert row > 2 * own
    assert bytes_of_a_row(nn.Linear(2, 2), 12, 8) is None


def test_automatic_answers_are_those_of_any_size(tmp_path: Path) -> None:
    task = text_task("task.sources.mini.test_rows=4", "task.max_new_tokens=8", "task.test_subsets=[boolq]")
    found = evaluate(tiny_llama(), task, tmp_path / "auto", batch_size="auto")
    assert found.batch_size == CPU_MOST
    assert found.as_record()["batch_size"] == CPU_MOST
    evaluate(tiny_llama(), task, tmp_path / "one", batch_size=1)
    assert (tmp_path / "auto" / SAMPLES).read_bytes() == (tmp_path / "one" / SAMPLES).read_bytes()


def test_a_plan_takes_what_is_usual_on_its_machine() -> None:
    words = ("scale=small", "model=smollm2_135m", "protocol=clean")

    def seconds(machine: str, size: str) -> float:
        config = run_config(*words, f"plan.hardware={machine}", f"evaluation.batch_size={size}")
        found = Estimator([], hardware=machine).estimate(config).eval_seconds
        assert found is not None
        return found

    assert seconds("cpu", "auto") == seconds("cpu", "32") != seconds("cpu", "256")
    assert seconds("h100", "auto") == seconds("h100", "256") != seconds("h100", "32")


@pytest.mark.parametrize("wrong", ["0", "all", "2.5", "true"])
def test_another_size_is_refused(wrong: str) -> None:
    with pytest.raises(UserError, match=r"^evaluation\.batch_size=.* is refused: choose auto or a whole number from 1"):
        run_config(f"evaluation.batch_size={wrong}")
