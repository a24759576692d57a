"""How text becomes token ids, batches and answers: the habits of one published code base, each as a named field.

``protocol=clean`` has none of the quirks; ``v5`` and ``v3`` reproduce the official code of WeGeFT (ICML 2025) and of
its predecessor GIFT (arXiv 2312.00700 v3), whose data code descends from pyreft's LoReFT examples.

Does not: hold prompts, data or sizes (the task and the scale do), or import torch.
"""

from typing import Literal

from pydantic import Field

from wegeft.schema import Strict

Side = Literal["left", "right"]


class BaseProtocol(Strict):
    """What the protocol of every kind of task has.

    Attributes:
        name: what the record prints.
    """

    name: str


class ProtocolConfig(BaseProtocol):
    """Rules from text to ids, and from generated text to an answer.

    Attributes:
        pad_first: one pad id stands before BOS in every example (label -100, attention 0), left over from ReFT.
        pad_token: ``dedicated`` takes an id the model has and text never produces; ``unk`` takes the unknown token
            where the tokenizer has one.
        padding_side_train: side of the padding in training batches.
        padding_side_eval: side of the padding in generation batches; left, or the answer would follow padding.
        mask_pad_by_id: attention mask is "id != pad", so an unknown token inside the text is masked as well.
        max_length: most ids of prompt and target together, BOS and EOS included, a leading pad id not.
        truncation: what happens to a longer example. ``error``: stop, naming the row. ``right``: cut the end, answer
            and EOS first. ``skip``: leave a training row out, score a test row wrong; both are counted and reported.
        truncations: values per scale, which ``truncation`` may refer to; unused by the code.
        occurrence: which occurrence of the answer's trigger phrase counts.
        trigger_space: the trigger phrase must be followed by a blank to count as one.
        train_on_inputs: the loss also covers the prompt (LLM-Adapters does so).
    """

    pad_first: bool
    pad_token: Literal["dedicated", "unk"]
    padding_side_train: Side
    padding_side_eval: Literal["left"]
    mask_pad_by_id: bool
    max_length: int = Field(ge=8)
    truncation: Literal["error", "right", "skip"]
    truncations: dict[str, str] = Field(default_factory=dict)
    occurrence: Literal["last", "first"]
    trigger_space: bool
    train_on_inputs: bool
