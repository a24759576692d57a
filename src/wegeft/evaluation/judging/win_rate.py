"""From a judge's preferences to a win rate: the arithmetic of AlpacaEval 1 and 2, offline.

A preference lies between 1, the reference's answer is better, and 2, the model's is; 1.5 is a draw, which AlpacaEval 1
also wrote as 0. AlpacaEval 1 (text-davinci-003 as reference, GPT-4 as judge) says 1, 2 or draw; AlpacaEval 2 (GPT-4
Turbo as both) weighs by the judge's token probabilities. A preference of None means that the judge gave none: it is
left out and counted.

Does not: ask a judge, or compute AlpacaEval 2's length-controlled win rate (a regression over all of its models).
"""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, stdev

from wegeft.errors import UserError
from wegeft.evaluation.result import Score
from wegeft.files import write_atomically

_DAY = len("2026-01-31")
WORST, BEST, DRAW, OLD_DRAW = 1.0, 2.0, 1.5, 0.0


@dataclass(frozen=True)
class WinRate:
    """What the leaderboards print about one model.

    Attributes:
        win_rate: mean preference for the model in percent, a draw as a half.
        standard_error: of ``win_rate``, in percent.
        discrete_win_rate: share of comparisons won in percent, a draw as a half; differs for weighted preferences.
        n_wins: comparisons that the model won.
        n_wins_base: comparisons that the reference won.
        n_draws: comparisons that neither won.
        n_total: comparisons with a preference.
        n_unjudged: comparisons without one.
    """

    win_rate: float
    standard_error: float
    discrete_win_rate: float
    n_wins: int
    n_wins_base: int
    n_draws: int
    n_total: int
    n_unjudged: int

    def as_score(self, subset: str) -> Score:
        """The win rate as a score of an evaluation."""
        return Score(subset, "win_rate", self.win_rate / 100, self.standard_error / 100, self.n_total, 0.5)


@dataclass(frozen=True)
class Pair:
    """An instruction and the two answers that are compared."""

    instruction: str
    output: str
    reference: str


@dataclass(frozen=True)
class Judgement:
    """One raw judgement, kept so that the win rate can be computed again.

    Attributes:
        instruction: what was asked.
        preference: see the module; None if the judge gave none.
        judge: which judge, with its version.
        judged: UTC date.
        reply: what the judge wrote; empty where that is not known.
        output: the model's answer that was judged; None where that is not known.
    """

    instruction: str
    preference: float | None
    judge: str
    judged: str
    reply: str = ""
    output: str | None = None


def win_rate(preferences: Sequence[float | None]) -> WinRate:
    """The win rate over all comparisons that were judged.

    Raises:
        UserError: fewer than two preferences, or one outside 1 to 2.
    """
    given = [DRAW if value == OLD_DRAW else value for value in preferences if value is not None]
    wrong = next((value for value in given if not WORST <= value <= BEST), None)
    if wrong is not None:
        raise UserError(f"a preference of {wrong} lies outside {WORST} to {BEST}.")
    if len(given) < 2:
        raise UserError(f"a win rate needs two judged comparisons at least; {len(given)} of {len(preferences)} are.")
    won = [value - WORST for value in given]
    wins, draws = sum(value > DRAW for value in given), sum(value == DRAW for value in given)
    return WinRate(
        win_rate=100 * fmean(won),
        standard_error=100 * stdev(won) / math.sqrt(len(won)),
        discrete_win_rate=100 * (wins + draws / 2) / len(given),
        n_wins=wins,
        n_wins_base=len(given) - wins - draws,
        n_draws=draws,
        n_total=len(given),
        n_unjudged=len(preferences) - len(given),
    )


def read_judgements(path: Path, judge: str | None = None) -> list[Judgement]:
    """Raw judgements from a JSON array with the fields of AlpacaEval's ``annotations.json``.

    ``judge`` names the judge, else the file's ``annotator``. Its ``output_2`` is the model's answer. Older files of
    AlpacaEval hold neither date nor reply.

    Raises:
        UserError: no such file, or an entry without its fields; the sentence names file and entry.
    """
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise UserError(f"judgements {path} cannot be read: {error}.") from error
    found = []
    for number, row in enumerate(rows):
        try:
            preference = row["preference"]
            value = None if preference is None or math.isnan(preference) else float(preference)
            judged = row.get("judged") or str(row.get("preference_date") or "unknown")[:_DAY]
            reply = row.get("reply") or str(row.get("preference_raw_completion") or "")
            name = judge or row["annotator"]
            found.append(Judgement(row["instruction"], value, name, judged, reply, row.get("output_2")))
        except (KeyError, TypeError, ValueError) as error:
            raise UserError(f"judgements {path}, entry {number} is none: {error!r}.") from error
    return found


def write_judgements(path: Path, judgements: Sequence[Judgement]) -> None:
    """Raw judgements as :func:`read_judgements` reads them."""
    rows = [
        {
            "instruction": judgement.instruction,
            "preference": judgement.preference,
            "annotator": judgement.judge,
            "judged": judgement.judged,
            "reply": judgement.reply,
            "output_2": judgement.output,
        }
        for judgement in judgements
    ]
    write_atomically(path, (json.dumps(rows, indent=1, ensure_ascii=False) + "\n").encode())


def write_generations(path: Path, instructions: Sequence[str], outputs: Sequence[str], generator: str) -> None:
    """Answers in AlpacaEval's file format, for a judge on any machine (``alpaca_eval --model_outputs FILE``)."""
    rows = [
        {"instruction": instruction, "output": output, "dataset": "alpaca_eval", "generator": generator}
        for instruction, output in zip(instructions, outputs, strict=True)
    ]
    write_atomically(path, (json.dumps(rows, indent=2, ensure_ascii=False) + "\n").encode())
