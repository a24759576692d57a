"""Asking a judge behind an OpenAI-compatible endpoint, and which of two answers is better.

The two answers are shown in an order that follows from the question, so that neither side always stands first and a
repetition asks the same.

Does not: count wins, or choose a judge.
"""

import hashlib
import http
import http.client
import json
import os
import re
import urllib.error
import urllib.request
from datetime import UTC, datetime

from wegeft.errors import UserError
from wegeft.evaluation.judging.config import JudgeConfig
from wegeft.evaluation.judging.win_rate import BEST, WORST, Judgement, Pair

ATTEMPTS = 3
PROMPT_VERSION = 1
"""Raised when the judge is asked otherwise; a part of the judge's name."""

PROMPT = """Two assistants were given the same instruction. Decide which answer serves a person who gave it better: \
correct, helpful, complete, without padding.

[Instruction]
{instruction}

[Answer A]
{a}

[Answer B]
{b}

Reply with one letter, A or B, and nothing else."""


class Endpoint:
    """A judge at ``config.base_url``.

    Attributes:
        model: the judge, as the endpoint calls it.
    """

    def __init__(self, config: JudgeConfig) -> None:
        """Take the endpoint.

        Raises:
            UserError: no endpoint or no model is given.
        """
        if config.base_url is None or config.model is None:
            raise UserError(
                "nobody is there to judge: set judge.base_url and judge.model (an OpenAI-compatible endpoint), "
                "judge.annotator (the alpaca_eval package asks), or judge.annotations (a file that it has made)."
            )
        self._url = config.base_url.rstrip("/") + "/chat/completions"
        self.model = config.model
        self._key = os.environ.get(config.key_variable, "")
        self._timeout = config.timeout_seconds

    def ask(self, prompt: str) -> str:
        """The reply to ``prompt``.

        Raises:
            UserError: the endpoint refuses or does not answer.
        """
        body = {"model": self.model, "temperature": 0, "messages": [{"role": "user", "content": prompt}]}
        headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {self._key}"} if self._key else {})
        request = urllib.request.Request(self._url, json.dumps(body).encode(), headers)
        reason = ""
        for _ in range(ATTEMPTS):
            try:
                with urllib.request.urlopen(request, timeout=self._timeout) as response:
                    return str(json.loads(response.read())["choices"][0]["message"]["content"])
            except urllib.error.HTTPError as error:
                with error:
                    reason = f"HTTP {error.code} {error.reason}"
                if error.code < 500 and error.code != http.HTTPStatus.TOO_MANY_REQUESTS:
                    break
            except (OSError, http.client.HTTPException, ValueError, LookupError, TypeError) as error:
                reason = f"{type(error).__name__}: {error}"
        raise UserError(f"judge.base_url: {self._url} gives no judgement ({reason}); those it gave are kept.")


def pairwise_judge(model: str) -> str:
    """The name of ``model`` as a judge of two answers."""
    return f"{model} (pairwise prompt {PROMPT_VERSION})"


class EndpointJudge:
    """Asks which of two answers is better."""

    def __init__(self, config: JudgeConfig) -> None:
        """Take the endpoint; UserError if none is given."""
        self._endpoint = Endpoint(config)
        self.name = pairwise_judge(self._endpoint.model)

    def judge(self, pair: Pair) -> Judgement:
        """The judge's preference between the answers of ``pair``; None where its reply names neither.

        Raises:
            UserError: the endpoint refuses or does not answer.
        """
        ours_first = hashlib.sha256(pair.instruction.encode()).digest()[0] % 2 == 0
        a, b = (pair.output, pair.reference) if ours_first else (pair.reference, pair.output)
        reply = self._endpoint.ask(PROMPT.format(instruction=pair.instruction, a=a, b=b))
        letters = re.findall(r"\b[AB]\b", reply)
        preference = None
        if letters:
            preference = BEST if (letters[-1] == "A") == ours_first else WORST
        day = datetime.now(UTC).strftime("%Y-%m-%d")
        return Judgement(pair.instruction, preference, self.name, day, reply, pair.output)
