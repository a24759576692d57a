"""The win-rate arithmetic reproduces the published leaderboards of AlpacaEval 1 and 2."""

import csv
import gzip
import json
import math
from pathlib import Path
from typing import Any

import pytest

from wegeft.errors import UserError
from wegeft.evaluation.judging.win_rate import read_judgements, win_rate, write_generations

FOLDER = ("instruct", "alpaca_eval")
BOARDS = {
    "AE1_gpt4_preferences_slim.json.gz": ("leaderboard_AE1_gpt4.csv", 52),
    "AE2_weighted_preferences_slim.json.gz": ("leaderboard_AE2_weighted_gpt4_turbo.csv", 57),
}


def preferences(real_data: Path, name: str) -> dict[str, list[float | None]]:
    """Every model's preferences, in the order of the instructions."""
    with gzip.open(real_data.joinpath(*FOLDER, name), "rt") as file:
        models: dict[str, Any] = json.load(file)
    return {model: [row[1] for row in entry["rows"]] for model, entry in models.items()}


def leaderboard(real_data: Path, name: str) -> dict[str, dict[str, str]]:
    """The published figures by model."""
    with real_data.joinpath(*FOLDER, name).open() as file:
        return {row[""]: row for row in csv.DictReader(file)}


def same_to_the_printed_digit(value: float, printed: str) -> bool:
    """Whether `value` is what was printed, as far as digits go: 8 in some rows; the preferences at hand have 10."""
    digits = len(printed.partition(".")[2])
    return math.isclose(value, float(printed), rel_tol=0, abs_tol=max(0.5000001 * 10**-digits, 1e-8))


@pytest.mark.parametrize("name", BOARDS)
def test_every_published_win_rate_is_reproduced(real_data: Path, name: str) -> None:
    board, models = BOARDS[name]
    published = leaderboard(real_data, board)
    judged = preferences(real_data, name)
    assert len(judged) == models
    for model, values in judged.items():
        found, row = win_rate(values), published[model]
        assert same_to_the_printed_digit(found.win_rate, row["win_rate"]), model
        assert same_to_the_printed_digit(found.standard_error, row["standard_error"]), model
        counts = (found.n_wins, found.n_wins_base, found.n_draws, found.n_total)
        assert counts == tuple(int(row[key]) for key in ("n_wins", "n_wins_base", "n_draws", "n_total")), model
        if row["discrete_win_rate"]:
            assert same_to_the_printed_digit(found.discrete_win_rate, row["discrete_win_rate"]), model
        assert found.n_total + found.n_unjudged == len(values)


@pytest.mark.parametrize("model", ["alpaca-7b", "vicuna-13b", "gpt4", "tulu-2-dpo-7b", "llama-2-7b-chat-hf"])
def test_raw_judgement_files_give_the_same(real_data: Path, tmp_path: Path, model: str) -> None:
    packed = real_data.joinpath(*FOLDER, "annotations_full", f"AE1_{model}.json.gz")
    path = tmp_path / "annotations.json"
    path.write_bytes(gzip.decompress(packed.read_bytes()))
    judgements = read_judgements(path)
    assert len(judgements) == 805
    assert {judgement.judge for judgement in judgements} == {"alpaca_eval_gpt4"}
    found = win_rate([judgement.preference for judgement in judgements])
    published = leaderboard(real_data, "leaderboard_AE1_gpt4.csv")[model]
    assert same_to_the_printed_digit(found.win_rate, published["win_rate"])


def test_a_draw_is_a_half_however_it_is_written() -> None:
    found = win_rate([2.0, 1.0, 1.5, 0, None])
    assert found.win_rate == found.discrete_win_rate == 50.0
    assert (found.n_wins, found.n_wins_base, found.n_draws, found.n_total, found.n_unjudged) == (1, 1, 2, 4, 1)


def test_weighted_preferences_count_by_their_weight() -> None:
    found = win_rate([1.6, 1.6])
    assert found.win_rate == pytest.approx(60.0)
    assert found.discrete_win_rate == 100.0
    score = found.as_score("alpaca_eval")
    assert (score.metric, score.n, score.chance) == ("win_rate", 2, 0.5)
    assert score.value == pytest.approx(0.6)


@pytest.mark.parametrize("values", [[2.5, 1.0], [-1.0, 1.0], [0.5, 2.0], [float("nan"), 1.0]])
def test_a_preference_out_of_range_is_refused(values: list[float | None]) -> None:
    with pytest.raises(UserError, match=r"lies outside 1\.0 to 2\.0"):
        win_rate(values)


@pytest.mark.parametrize("values", [[], [None, None], [2.0, None]])
def test_too_few_judgements_are_refused(values: list[float | None]) -> None:
    with pytest.raises(UserError, match="a win rate needs two judged comparisons"):
        win_rate(values)


def test_broken_judgements_are_named(tmp_path: Path) -> None:
    path = tmp_path / "annotations.json"
    with pytest.raises(UserError, match="cannot be read"):
        read_judgements(path)
    path.write_text('[{"instruction": "a", "preference": 1.0, "annotator": "x"}, {"instruction": "a"}]')
    with pytest.raises(UserError, match=r"entry 1 is none: KeyError\('preference'\)"):
        read_judgements(path)


def test_generations_are_written_as_alpaca_eval_reads_them(tmp_path: Path) -> None:
    path = tmp_path / "outputs.json"
    write_generations(path, ["What?", "Why?"], ["This.", "Because \u2013 so."], "mini")
    assert json.loads(path.read_text(encoding="utf-8")) == [
        {"instruction": "What?", "output": "This.", "dataset": "alpaca_eval", "generator": "mini"},
        {"instruction": "Why?", "output": "Because \u2013 so.", "dataset": "alpaca_eval", "generator": "mini"},
    ]
    with pytest.raises(ValueError, match=r"shorter|longer"):
        write_generations(path, ["What?"], [], "mini")
