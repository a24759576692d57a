"""A small tokenizer, small data files and tasks composed as a person would, for the tests of tasks and evaluation."""

import json
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from tests.composing import composed
from wegeft.schema import validate
from wegeft.tasks import build_task
from wegeft.tasks.protocol import ProtocolConfig
from wegeft.tasks.text import TextTask

SPECIALS = ("<unk>", "<s>", "</s>", "<pad>")

SUBSETS = ("boolq", "piqa", "social_i_qa", "hellaswag", "winogrande", "ARC-Easy", "ARC-Challenge", "openbookqa")


def protocol(name: str, *overrides: str) -> ProtocolConfig:
    """`configs/protocol/<name>.yaml`; overrides without the leading `protocol.`."""
    lines = [f"protocol={name}", *(f"protocol.{line}" for line in overrides)]
    return validate(ProtocolConfig, _nodes(*lines)["protocol"], "protocol")


def text_task(*overrides: str) -> TextTask:
    """The task of `python run.py OVERRIDES`."""
    task = build_task(_nodes(*overrides)["task"])
    assert isinstance(task, TextTask)
    return task


def _nodes(*overrides: str) -> dict[str, Any]:
    config = composed(*overrides)
    return {key: config[key] for key in ("task", "protocol")}


@cache
def tiny_tokenizer() -> PreTrainedTokenizerFast:
    """Byte-level BPE of 300 tokens that knows the words of a question and its answer."""
    backend = Tokenizer(models.BPE(unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=300, special_tokens=list(SPECIALS), initial_alphabet=pre_tokenizers.ByteLevel.alphabet()
    )
    backend.train_from_iterator(["the correct answer is true or false"] * 8, trainer)
    unk, bos, eos, pad = SPECIALS
    return PreTrainedTokenizerFast(tokenizer_object=backend, unk_token=unk, bos_token=bos, eos_token=eos, pad_token=pad)


def row(question: str, answer: str = "true") -> dict[str, str]:
    """One row in the schema of the real files."""
    return {
        "instruction": f"{question}\n\nAnswer format: true/false",
        "input": "",
        "output": f"the correct answer is {answer}",
        "answer": answer,
    }


def write_data(root: Path, rows: Sequence[dict[str, str]]) -> Path:
    """`rows` as both splits of all eight commonsense sets below `root`."""
    for subset in SUBSETS:
        folder = root / "dataset" / subset
        folder.mkdir(parents=True)
        for split in ("train", "test"):
            (folder / f"{split}.json").write_text(json.dumps(rows))
    return root
