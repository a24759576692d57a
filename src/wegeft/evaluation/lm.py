"""Our model behind lm-eval's interface: prompts in, answers out, through the suite's own encoder.

Does not: score log-likelihoods or apply chat templates; tasks that need these are refused.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from lm_eval.api.instance import Instance
from lm_eval.api.model import LM
from torch import nn

from wegeft.evaluation.decoding import DecodingConfig
from wegeft.evaluation.engine import Engine, IsDecided, Questions
from wegeft.evaluation.extractors import Decided
from wegeft.evaluation.journal import Answer, Journal
from wegeft.evaluation.rounds import answer_all
from wegeft.progress import Advance, progress
from wegeft.tasks.encoding import Prompts, TextEncoder

DECODING = "decoding"
"""Key of a request's ``generation_kwargs`` under which a task of ours keeps its :class:`DecodingConfig`."""

UNFINISHED = "\ufffd"
"""What stands for the bytes of a character of which some are still to come."""


class TextLM(LM):  # type: ignore[misc]  # lm-eval has no annotations
    """A language model that an engine runs, asked only for what its journal does not know.

    Attributes:
        tokens_generated: new tokens so far, EOS included.
        prompt_lengths: number of ids of every prompt seen, by its text.
        too_long: texts of the prompts that ``protocol.max_length`` cut or left unanswered.
    """

    def __init__(
        self,
        model: nn.Module,
        encoder: TextEncoder,
        engine: Engine,
        journal: Journal,
        decided: Mapping[str, Decided | None],
    ) -> None:
        """``decided`` says by a task's name when its answers may end; one without an entry ends at EOS."""
        super().__init__()
        self._model = model
        self._encoder = encoder
        self._engine = engine
        self._journal = journal
        self._decided = decided
        self.tokens_generated = 0
        self.prompt_lengths: dict[str, int] = {}
        self.too_long: set[str] = set()

    @property
    def tokenizer_name(self) -> str:
        """Name that lm-eval keeps with its results."""
        return str(self._encoder.tokenizer.name_or_path)

    def generate_until(self, requests: Sequence[Instance], disable_tqdm: bool = False) -> list[str]:
        """Answers in the order of ``requests``; each carries its prompt and its ``generation_kwargs``."""
        del disable_tqdm  # lm-eval's own bar; ours shows rate and time left
        answers: list[str] = [""] * len(requests)
        prompts = self._encode(requests)
        alike: dict[tuple[int, DecodingConfig], list[int]] = {}
        for position, request in enumerate(requests):
            if position not in prompts.too_long or self._encoder.protocol.truncation != "skip":
                alike.setdefault(_settings(request.args[1]), []).append(position)
        with progress(len(requests), "answer") as advance:
            for (max_new_tokens, decoding), positions in alike.items():
                self._answer(requests, prompts, positions, max_new_tokens, decoding, answers, advance)
        return answers

    def _encode(self, requests: Sequence[Instance]) -> Prompts:
        texts = [request.args[0] for request in requests]
        prompts = self._encoder.encode_prompts(texts, [_name(request) for request in requests])
        self.prompt_lengths |= {text: len(ids) for text, ids in zip(texts, prompts.input_ids, strict=True)}
        self.too_long |= {texts[position] for position in prompts.too_long}
        return prompts

    def _answer(
        self,
        requests: Sequence[Instance],
        prompts: Prompts,
        positions: list[int],
        max_new_tokens: int,
        decoding: DecodingConfig,
        answers: list[str],
        advance: Advance,
    ) -> None:
        """Fill in ``answers`` at ``positions``."""
        asked = [requests[p] for p in positions]
        questions = Questions(
            prompts_ids=[prompts.input_ids[p] for p in positions],
            sets=[request.task_name for request in asked],
            streams=_streams(asked),
            max_new_tokens=max_new_tokens,
            decoding=decoding,
            is_decided=self._watch([request.task_name for request in asked]),
            listed=self._listed(asked) if decoding.listed else None,
        )
        session = self._engine.ask(questions)

        def answer(batch: Sequence[int]) -> list[Answer]:
            return [self._read(asked[index], ids) for index, ids in zip(batch, session.answer(batch), strict=True)]

        keys = [f"{name} {stream}" for name, stream in zip(questions.sets, questions.streams, strict=True)]
        found = answer_all(keys, session.batches, answer, self._journal, self._model, advance)
        for position, given in zip(positions, found, strict=True):
            answers[position] = given.text
            self.tokens_generated += given.tokens

    def _listed(self, requests: Sequence[Instance]) -> list[list[list[int]]]:
        """For each question the ids of the answers that it lists, as its task announces them."""
        return self._encoder.encode_answers([r.args[0] for r in requests], [r.doc["listed"] for r in requests])

    def _watch(self, names: Sequence[str]) -> IsDecided:
        """Whether the answers to questions of the tasks ``names`` are decided; each look decodes what is new."""
        of_question = [self._decided.get(name) for name in names]
        seen: dict[int, tuple[int, str]] = {}

        def is_decided(position: int, ids: list[int]) -> bool:
            tells = of_question[position]
            if tells is None:
                return False
            count, text = seen.get(position, (0, ""))
            if count >= len(ids):  # begun again, after memory ran out
                count, text = 0, ""
            text += self._encoder.decode(ids[count:])
            seen[position] = (len(ids), text)
            # Decoded in parts, a character or a blank at a seam can be another; the whole has the last word.
            return tells(text) and tells(self._encoder.decode(ids).rstrip(UNFINISHED))

        return is_decided

    def _read(self, request: Instance, ids: list[int]) -> Answer:
        """What was generated, as text."""
        # Like lm-eval's own models, an EOS that a model spells out in letters ends the answer as well.
        stops = [*(request.args[1].get("until") or []), str(self._encoder.tokenizer.eos_token)]
        return Answer(_cut(self._encoder.decode(ids), stops), len(ids))

    def loglikelihood(self, requests: Sequence[Instance]) -> list[tuple[float, bool]]:
        """Refused."""
        raise NotImplementedError(f"TextLM generates; it does not score the {len(requests)} given continuations.")

    def loglikelihood_rolling(self, requests: Sequence[Instance]) -> list[float]:
        """Refused."""
        raise NotImplementedError(f"TextLM generates; it does not score the {len(requests)} given texts.")


def _name(request: Instance) -> str:
    return str(request.doc["uid"]) if "uid" in request.doc else f"{request.task_name}/{request.doc_id}"


def _streams(requests: Sequence[Instance]) -> list[str]:
    """A name for the random stream of each request: the question, and how many answers to it came before."""
    asked: Counter[str] = Counter()
    streams = []
    for request in requests:
        streams.append(f"{_name(request)}#{asked[_name(request)]}")
        asked[_name(request)] += 1
    return streams


def _settings(settings: dict[str, Any]) -> tuple[int, DecodingConfig]:
    """Token limit and decoding of one request; sampling that does not come from a task of ours is refused."""
    if DECODING not in settings and (settings.get("do_sample") or settings.get("temperature")):
        raise NotImplementedError(f"TextLM samples with a {DECODING} of its own only: {settings}")
    return int(settings["max_gen_toks"]), DecodingConfig.model_validate(settings.get(DECODING, {}))


def _cut(text: str, until: Sequence[str]) -> str:
    """``text`` up to the first of the stop strings ``until``."""
    for stop in until:
        text = text.split(stop)[0] if stop else text
    return text
