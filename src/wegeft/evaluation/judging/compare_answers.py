"""Every answer of a run compared with its reference by a judge, each judgement kept as soon as it is there.

Does not: know how a judge is asked (``endpoint``, ``alpaca_eval_package``) or what a win rate is (``win_rate``).
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

from wegeft.evaluation.judging.alpaca_eval_package import annotate
from wegeft.evaluation.judging.config import JudgeConfig
from wegeft.evaluation.judging.endpoint import EndpointJudge
from wegeft.evaluation.judging.judged import Judged, judge_and_days
from wegeft.evaluation.judging.win_rate import Judgement, Pair, read_judgements, win_rate, write_judgements
from wegeft.evaluation.samples import Sample
from wegeft.progress import progress


def judge_answers(samples: Sequence[Sample], asked: Mapping[str, str], kept: Path, config: JudgeConfig) -> Judged:
    """The win rate of ``samples`` over their gold answers.

    Args:
        samples: the answers of a run.
        asked: the bare instruction by uid.
        kept: file of the judgements so far; what is missing is asked for and added.
        config: who judges.

    Raises:
        UserError: judgements are missing and nobody is there to give them, or several judges gave them.
    """
    known = {judgement.instruction: judgement for judgement in _known(kept, config)}
    missing = [Pair(asked[one.uid], one.text, one.gold) for one in samples if asked[one.uid] not in known]
    if missing and config.annotator is not None:
        known |= {one.instruction: one for one in annotate(missing, kept.parent, config)}
    elif missing:
        judge = EndpointJudge(config)
        with progress(len(missing), "judge") as advance:
            for pair in missing:
                known[pair.instruction] = judge.judge(pair)
                write_judgements(kept, list(known.values()))
                advance()
    judgements = [known[asked[sample.uid]] for sample in samples]
    write_judgements(kept, list(known.values()))
    subset = samples[0].subset
    score = win_rate([judgement.preference for judgement in judgements]).as_score(subset)
    return Judged({subset: score}, judge_and_days(judgements))


def _known(kept: Path, config: JudgeConfig) -> list[Judgement]:
    """Judgements made elsewhere, else those that are kept."""
    if config.annotations is not None:
        return read_judgements(Path(config.annotations))
    return read_judgements(kept) if kept.is_file() else []
