"""Every answer of a run compared with its reference by a judge, each judgement kept as soon as it is there.

Does not: know how a judge is asked (``endpoint``, ``alpaca_eval_package``) or what a win rate is (``win_rate``).
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from wegeft.errors import UserError
from wegeft.evaluation.judging.alpaca_eval_package import annotate, annotator_judge
from wegeft.evaluation.judging.config import JudgeConfig
from wegeft.evaluation.judging.endpoint import EndpointJudge, pairwise_judge
from wegeft.evaluation.judging.judged import Judged, judge_and_days
from wegeft.evaluation.judging.win_rate import Judgement, Pair, read_judgements, win_rate, write_judgements
from wegeft.evaluation.samples import Sample
from wegeft.progress import progress


def judge_answers(samples: Sequence[Sample], asked: Mapping[str, str], kept: Path, config: JudgeConfig) -> Judged:
    """The win rate of ``samples`` over their gold answers.

    Args:
        samples: the answers of a run.
        asked: the bare instruction by uid.
        kept: file of the judgements so far, of any judge; what is missing is asked for and added.
        config: who judges.

    Raises:
        UserError: judgements are missing and nobody is there to give them, several judges gave them, or they are
            about other answers.
    """
    pairs = [Pair(asked[one.uid], one.text, one.gold) for one in samples]
    earlier = read_judgements(kept) if kept.is_file() else []
    taken = _of_the_judge(earlier, pairs, config) if config.annotations is None else _made_elsewhere(pairs, config)
    known = {_answer(one): one for one in taken}
    every = {(*_answer(one), one.judge): one for one in (*earlier, *taken)}
    missing = [pair for pair in pairs if _answer(pair) not in known]
    for judgement in _asked_for(missing, kept.parent, config):
        known[_answer(judgement)] = every[*_answer(judgement), judgement.judge] = judgement
        write_judgements(kept, list(every.values()))
    write_judgements(kept, list(every.values()))
    judgements = [known[_answer(pair)] for pair in pairs]
    subset = samples[0].subset
    score = win_rate([judgement.preference for judgement in judgements]).as_score(subset)
    return Judged({subset: score}, judge_and_days([*taken, *judgements]))


def _answer(one: Pair | Judgement) -> tuple[str, str | None]:
    """What tells judgements of one judge apart: an answer that has changed is another."""
    return one.instruction, one.output


def _of_the_judge(kept: Sequence[Judgement], pairs: Sequence[Pair], config: JudgeConfig) -> list[Judgement]:
    """Those of ``kept`` that are about these answers and by the judge of ``config``, or by any if it names none."""
    wanted, judge = {_answer(pair) for pair in pairs}, _judge(config)
    return [one for one in kept if _answer(one) in wanted and judge in (None, one.judge)]


def _made_elsewhere(pairs: Sequence[Pair], config: JudgeConfig) -> list[Judgement]:
    """The judgements of ``config.annotations``; UserError if they say that they are about other answers."""
    found = {one.instruction: one for one in read_judgements(Path(str(config.annotations)))}
    for pair in pairs:
        if pair.instruction in found and found[pair.instruction].output not in (None, pair.output):
            raise UserError(
                f"judge.annotations={config.annotations} judges another answer than the run's to "
                f"{pair.instruction[:60]!r}; judge the answers that are kept with the run."
            )
    return [replace(found[pair.instruction], output=pair.output) for pair in pairs if pair.instruction in found]


def _judge(config: JudgeConfig) -> str | None:
    """The name of the judge that ``config`` asks for."""
    if config.annotator is not None:
        return annotator_judge(config)
    return None if config.model is None else pairwise_judge(config.model)


def _asked_for(missing: Sequence[Pair], folder: Path, config: JudgeConfig) -> Iterator[Judgement]:
    """The judgements of ``missing``, as they come."""
    if missing and config.annotator is not None:
        yield from annotate(missing, folder, config)
    elif missing:
        judge = EndpointJudge(config)
        with progress(len(missing), "judge") as advance:
            for pair in missing:
                yield judge.judge(pair)
                advance()
