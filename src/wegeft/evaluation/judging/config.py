"""Who scores kept answers: a judge of open ones, a sandbox of programs.

Does not: ask anybody, or run anything.
"""

from pydantic import Field

from wegeft.evaluation.code.sandbox import Isolation
from wegeft.schema import Strict


class JudgeConfig(Strict):
    """A judge behind an OpenAI-compatible endpoint, or judgements that were made elsewhere.

    Attributes:
        annotator: of the alpaca_eval package, which then compares answers; None compares with our own prompt.
        base_url: of the endpoint, up to ``/chat/completions``; None asks nobody, or OpenAI for an annotator.
        model: the judge, as the endpoint calls it; None is the annotator's own.
        key_variable: environment variable with the endpoint's key; no key is sent where it is empty.
        annotations: an ``annotations.json`` of the alpaca_eval package, to be taken instead of asking.
        timeout_seconds: of one judgement.
        allow_code_execution: how kept programs are run.
    """

    annotator: str | None
    base_url: str | None
    model: str | None
    key_variable: str
    annotations: str | None
    timeout_seconds: float = Field(gt=0)
    allow_code_execution: Isolation
