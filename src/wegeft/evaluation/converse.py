"""Questions of several turns, answered turn by turn: each prompt holds what the model itself answered before.

Does not: grade answers, or know how a conversation is rendered (the task does).
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from lm_eval.api.instance import Instance
from torch import nn

from wegeft.evaluation.choose_engine import open_engine
from wegeft.evaluation.config import EvaluationConfig
from wegeft.evaluation.journal import Journal, fingerprint, keep
from wegeft.evaluation.lm import DECODING, TextLM
from wegeft.evaluation.samples import Sample
from wegeft.tasks.base import Example
from wegeft.tasks.conversations import ConversationTask
from wegeft.tasks.encoding import TextEncoder
from wegeft.tasks.questions import question_of

LATER = "second_turn"
UNBOUNDED = 1 << 20
"""Positions of a backbone that does not say how many it has."""


@dataclass(frozen=True)
class Conversed:
    """How the questions were answered.

    Attributes:
        too_long: by set and turn, how many prompts had no room, where there are any.
        batch_size: prompts decoded together.
    """

    too_long: Mapping[str, int]
    batch_size: int


def converse(
    model: nn.Module, encoder: TextEncoder, task: ConversationTask, config: EvaluationConfig, folder: Path
) -> Conversed:
    """Answer every turn of every question; the answers go to ``folder``/samples.jsonl, without scores.

    Prompts are as long as the backbone allows, whatever ``protocol.max_length`` says about training; one without room
    for its answer is left unanswered.
    """
    model.eval()
    sets = {subset: examples[: config.limit] for subset, examples in task.test_examples().items()}
    roomy = _with_room(model, encoder, task.max_new_tokens)
    questions = [(example.uid, example.prompt, example.gold) for examples in sets.values() for example in examples]
    samples: list[Sample] = []
    too_long: dict[str, int] = {}
    with (
        Journal(folder, fingerprint(model, questions)) as journal,
        open_engine(model, roomy, config, folder, task.max_new_tokens) as engine,
    ):
        for subset, examples in sets.items():
            prompts = [example.prompt for example in examples]
            for turn, name in enumerate((subset, f"{subset}/{LATER}")):
                lm = TextLM(model, roomy, engine, journal, decided={})
                answers = lm.generate_until(_requests(task, name, examples, prompts))
                lengths = [lm.prompt_lengths[prompt] for prompt in prompts]
                samples += map(_sample, [name] * len(examples), examples, prompts, lengths, answers)
                too_long[name] = sum(prompt in lm.too_long for prompt in prompts)
                if turn == 0:
                    prompts = [
                        task.second_prompt(prompt, answer, question_of(example.gold).turns[1])
                        for example, prompt, answer in zip(examples, prompts, answers, strict=True)
                    ]
        keep(samples, folder, journal)
    return Conversed({name: count for name, count in too_long.items() if count}, engine.batch_size)


def _with_room(model: nn.Module, encoder: TextEncoder, max_new_tokens: int) -> TextEncoder:
    positions = getattr(getattr(model, "config", None), "max_position_embeddings", UNBOUNDED)
    limits = {"max_length": positions - max_new_tokens - int(encoder.protocol.pad_first), "truncation": "skip"}
    return TextEncoder(encoder.tokenizer, encoder.protocol.model_copy(update=limits))


def _requests(task: ConversationTask, name: str, examples: Sequence[Example], prompts: Sequence[str]) -> list[Instance]:
    """One request a question; its random stream is named by question and turn."""
    (decoding,) = list(task.ways.values())[:1]
    requests = []
    for number, (example, prompt) in enumerate(zip(examples, prompts, strict=True)):
        temperature = task.temperature(question_of(example.gold).category)
        chosen = decoding.model_copy(update={"temperature": temperature})
        settings = {"until": [], "max_gen_toks": task.max_new_tokens, DECODING: chosen.model_dump()}
        document = {"uid": f"{name}/{example.uid}"}
        requests.append(Instance("generate_until", document, (prompt, settings), 0, (name, number, 1)))
    return requests


def _sample(name: str, example: Example, prompt: str, prompt_ids_n: int, text: str) -> Sample:
    return Sample(
        uid=example.uid,
        subset=name,
        prompt_sha256=hashlib.sha256(prompt.encode()).hexdigest(),
        prompt_ids_n=prompt_ids_n,
        text=text,
        extracted=text.strip() or None,
        gold=example.gold,
        score=None,
        extractor="WholeText",
        extractor_version=1,
    )
