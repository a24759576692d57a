"""Token ids, labels and masks: one BOS, loss on the answer and EOS alone, the same prompt ids for both uses."""

import json
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from tokenizers.processors import TemplateProcessing
from transformers import ByT5Tokenizer, PreTrainedTokenizerBase, PreTrainedTokenizerFast

from tests.tasks.tiny import protocol, row, text_task, tiny_tokenizer
from wegeft.errors import UserError
from wegeft.tasks.base import Example
from wegeft.tasks.encoding import IGNORE_INDEX, Encoded, TextEncoder

PROTOCOLS = ("clean", "v5", "v3")
GOLDEN = json.loads((Path(__file__).parent / "golden_ids.json").read_text())


def example(question: str = "is rain wet?", answer: str = "true") -> Example:
    """One rendered row."""
    rendered = row(question, answer)
    return Example("boolq/train/0", "boolq", rendered["instruction"] + "\n", rendered["output"], answer)


def encoder(name: str = "clean", *overrides: str) -> TextEncoder:
    """The tiny tokenizer under a protocol."""
    return TextEncoder(tiny_tokenizer(), protocol(name, *overrides))


def assert_well_formed(encoder: TextEncoder, example: Example, encoded: Encoded) -> None:
    """What holds for every example under every protocol, as long as nothing was cut."""
    ids, start = encoded.input_ids, 1 if encoder.protocol.pad_first else 0
    assert ids[start] == encoder.bos_id
    assert ids.count(encoder.bos_id) == 1
    assert ids[-1] == encoded.labels[-1] == encoder.eos_id
    assert ids.count(encoder.eos_id) == 1
    assert encoder.pad_id not in ids[start:]
    boundary = encoded.labels.index(next(label for label in encoded.labels if label != IGNORE_INDEX))
    assert encoded.labels == [IGNORE_INDEX] * boundary + ids[boundary:]
    assert ids[:boundary] == encoder.encode_prompt(example.prompt)
    assert encoder.decode(ids[boundary:]) == example.target
    assert encoder.decode(ids[:boundary]) == example.prompt
    assert encoded.attention_mask == [0] * start + [1] * (len(ids) - start)


@pytest.mark.parametrize("name", PROTOCOLS)
def test_an_example_is_bos_prompt_target_eos(name: str) -> None:
    made = encoder(name)
    assert_well_formed(made, example(), made.encode_example(example()))


@pytest.mark.parametrize("name", PROTOCOLS)
@pytest.mark.parametrize("tokenizer", ["llama2_tokenizer", "llama3_tokenizer"])
def test_real_rows_are_well_formed_with_the_real_tokenizers(
    name: str, tokenizer: str, real_data: Path, request: pytest.FixtureRequest
) -> None:
    made = TextEncoder(request.getfixturevalue(tokenizer), protocol(name))
    task = text_task("scale=paper", f"data.root={real_data / 'llm_adapters'}", "task.sources.paper.test_rows=25")
    for examples in task.test_examples().values():
        for item, encoded in zip(examples, made.encode_examples(examples), strict=True):
            assert_well_formed(made, item, encoded)


@pytest.mark.parametrize("entry", GOLDEN, ids=lambda entry: f"{entry['tokenizer']}-{entry['protocol']}")
def test_ids_are_those_pinned(entry: dict[str, object], request: pytest.FixtureRequest) -> None:
    """Ids written down once: the tokenizer, the protocol or the template changed if these do."""
    made = TextEncoder(request.getfixturevalue(f"{entry['tokenizer']}_tokenizer"), protocol(str(entry["protocol"])))
    encoded = made.encode_example(example("do lemons taste sour?"))
    assert encoded.input_ids == entry["input_ids"]
    assert encoded.labels == entry["labels"]
    assert encoded.attention_mask == entry["attention_mask"]


@pytest.mark.parametrize("name", PROTOCOLS)
def test_special_tokens_spelt_out_in_a_text_stay_text(
    name: str, llama2_tokenizer: PreTrainedTokenizerBase, llama3_tokenizer: PreTrainedTokenizerBase
) -> None:
    for tokenizer in (llama2_tokenizer, llama3_tokenizer, tiny_tokenizer()):
        made = TextEncoder(tokenizer, protocol(name))
        ids = made.encode_prompt("<s> </s> <unk> <pad> <|begin_of_text|> <|end_of_text|>\n")
        assert ids.count(made.bos_id) == 1  # type: ignore[arg-type]  # all three have a BOS
        assert made.eos_id not in ids
        assert ids.count(made.pad_id) == int(made.protocol.pad_first)


def test_pad_ids_of_the_paper_backbones(
    llama2_tokenizer: PreTrainedTokenizerBase, llama3_tokenizer: PreTrainedTokenizerBase
) -> None:
    """Never EOS, never a token that text produces, always one that the model has a row for."""
    pads = {name: TextEncoder(llama2_tokenizer, protocol(name)).pad_id for name in PROTOCOLS}
    assert pads == {"clean": 0, "v5": 0, "v3": 0}  # <unk>, which byte fallback leaves unused
    assert TextEncoder(llama3_tokenizer, protocol("clean")).pad_id == 128002  # <|reserved_special_token_0|>
    assert TextEncoder(llama3_tokenizer, protocol("v5")).pad_id < len(llama3_tokenizer)


def test_a_tokenizer_that_adds_bos_by_itself_still_gives_one() -> None:
    tokenizer = tiny_tokenizer()
    adding = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer.backend_tokenizer, unk_token="<unk>", bos_token="<s>", eos_token="</s>"
    )
    adding.backend_tokenizer.post_processor = TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    assert adding("rain")["input_ids"][0] == 1
    assert TextEncoder(adding, protocol("clean")).encode_prompt("rain").count(1) == 1


def test_a_merge_across_the_seam_does_not_change_the_prompt() -> None:
    """The tokenizer joins "t" and "rue"; generation starts from "t" alone, so training must as well."""
    made = encoder()
    joined = Example("boolq/train/0", "boolq", "the answer is t", "rue", "true")
    prompt = made.encode_prompt(joined.prompt)
    whole = made.encode_prompt(joined.prompt + joined.target)
    assert whole[: len(prompt)] != prompt
    encoded = made.encode_example(joined)
    assert encoded.input_ids[: len(prompt)] == prompt
    assert made.decode(encoded.input_ids) == "the answer is true"


@pytest.mark.parametrize(("name", "start"), [("clean", 1), ("v5", 2)])
def test_training_on_inputs_labels_everything_that_is_predicted(name: str, start: int) -> None:
    """Not BOS, before which nothing is read, nor the pad id before it."""
    encoded = encoder(name, "train_on_inputs=true").encode_example(example())
    assert encoded.labels == [IGNORE_INDEX] * start + encoded.input_ids[start:]


def test_a_row_of_which_nothing_is_read_has_no_labels() -> None:
    cut = encoder("v5", "train_on_inputs=true", "mask_pad_by_id=true")
    found = replace(cut.encode_examples([example()]), ids_N=np.array([cut.pad_id]), ends=np.array([1]))
    assert found[0].labels == [IGNORE_INDEX]


@pytest.mark.parametrize("side", ["left", "right"])
def test_padding_is_masked_and_carries_no_label(side: str) -> None:
    made = encoder("clean", f"padding_side_train={side}")
    short, long = (
        made.encode_example(example()),
        made.encode_example(example("is rain wet in every month of the year?")),
    )
    batch = made.collate_train([short, long])
    fill = len(long.input_ids) - len(short.input_ids)
    padding = slice(0, fill) if side == "left" else slice(len(short.input_ids), None)
    assert batch["input_ids"].dtype == torch.int64
    assert batch["input_ids"][0, padding].tolist() == [made.pad_id] * fill
    assert batch["attention_mask"][0, padding].sum() == 0
    assert batch["attention_mask"].sum(dim=1).tolist() == [len(short.input_ids), len(long.input_ids)]
    assert (batch["labels"][0, padding] == IGNORE_INDEX).all()
    assert batch["labels"][1].tolist() == long.labels
    positions = batch["position_ids"][0][batch["attention_mask"][0] == 1].tolist()
    assert positions == list(range(len(short.input_ids)))


def test_prompts_are_padded_on_the_left() -> None:
    made = encoder()
    batch = made.collate_prompts([[1, 5], [1, 5, 6, 7]])
    assert batch["input_ids"].tolist() == [[made.pad_id, made.pad_id, 1, 5], [1, 5, 6, 7]]
    assert batch["attention_mask"].tolist() == [[0, 0, 1, 1], [1, 1, 1, 1]]
    assert batch["position_ids"].tolist() == [[0, 0, 0, 1], [0, 1, 2, 3]]


def test_v5_masks_a_genuine_unknown_token_as_the_official_code_does() -> None:
    v5, clean = encoder("v5"), encoder("clean")
    assert v5.collate_prompts([[0, 1, 9, 0, 9]])["attention_mask"].tolist() == [[0, 1, 1, 0, 1]]
    assert clean.collate_prompts([[1, 9, 0, 9]])["attention_mask"].tolist() == [[1, 1, 1, 1]]


def test_a_row_that_is_too_long_is_named() -> None:
    made = encoder("clean", "max_length=16")
    with pytest.raises(UserError, match=r"row boolq/train/0: its prompt with its target is \d+ tokens .*=16; .*=skip"):
        made.encode_examples([example()])
    with pytest.raises(UserError, match=r"row here: its prompt is \d+ tokens long"):
        made.encode_prompts([example().prompt], ["here"])


def test_skipping_counts_what_it_leaves_out() -> None:
    made = encoder("clean", "max_length=40", "truncation=skip")
    long = Example("boolq/train/1", "boolq", "why " * 40, "the correct answer is true", "true")
    found = made.encode_examples([example("a?"), long, example("b?")])
    assert len(found) == 2
    assert found.skipped == ("boolq/train/1",)
    assert found.truncated == ()
    assert made.encode_prompts([long.prompt, "a?"]).too_long == {0}


def test_official_truncation_cuts_the_end_of_the_answer_and_counts() -> None:
    made = encoder("v5", "max_length=24")
    found = made.encode_examples([example()])
    assert found.truncated == ("boolq/train/0",)
    encoded = found[0]
    assert len(encoded.input_ids) == 1 + 24  # the leading pad id is added after cutting
    assert made.eos_id not in encoded.input_ids
    prompt = encoder("v5").encode_prompt(example().prompt)
    assert made.encode_prompt(example().prompt) == prompt[:25]


def test_a_prompt_cut_to_nothing_but_prompt_has_no_labels() -> None:
    encoded = encoder("v5", "max_length=8").encode_examples([example()])[0]
    assert set(encoded.labels) == {IGNORE_INDEX}


def test_many_examples_are_encoded_like_one_and_reported() -> None:
    made = encoder()
    examples = [example(f"is number {number} even?") for number in range(5000)]
    steps: list[int] = []
    found = made.encode_examples(examples, steps.append)
    assert sum(steps) == len(found) == 5000
    assert len(steps) > 1
    for index in (0, 4095, 4096, 4999, -1):
        assert found[index] == made.encode_example(examples[index])
    assert found[1:3] == [found[1], found[2]]
    with pytest.raises(IndexError):
        found[5000]
    assert all(left < right for left, right in pairwise(found.ends.tolist()))


def test_a_text_that_gives_the_pad_id_is_named() -> None:
    """A tokenizer whose unknown token stands for real text, and that has nothing else to pad with."""
    words = {"<unk>": 0, "<s>": 1, "</s>": 2, "rain": 3}
    backend = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, unk_token="<unk>", bos_token="<s>", eos_token="</s>")
    made = TextEncoder(tokenizer, protocol("clean"))
    assert made.encode_prompt("rain") == [1, 3]
    with pytest.raises(UserError, match=r"row here: its text gives a special token .*pad 0"):
        made.encode_prompts(["rain falls"], ["here"])


def test_a_tokenizer_without_eos_or_room_for_padding_is_refused() -> None:
    backend = tiny_tokenizer().backend_tokenizer
    with pytest.raises(UserError, match="no EOS token"):
        TextEncoder(PreTrainedTokenizerFast(tokenizer_object=backend, bos_token="<s>"), protocol("clean"))
    words = Tokenizer(models.WordLevel({"</s>": 0, "rain": 1}, unk_token="</s>"))
    one = PreTrainedTokenizerFast(tokenizer_object=words, bos_token="</s>", eos_token="</s>", unk_token="</s>")
    with pytest.raises(UserError, match="has no id that text never produces, to pad with"):
        TextEncoder(one, protocol("clean"))


def test_a_tokenizer_whose_bos_is_its_eos_ends_every_example() -> None:
    """SmolLM2 and GPT-2 have one token for both."""
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=tiny_tokenizer().backend_tokenizer, bos_token="</s>", eos_token="</s>", pad_token="<pad>"
    )
    encoded = TextEncoder(tokenizer, protocol("clean")).encode_example(example())
    assert encoded.input_ids[0] == encoded.input_ids[-1] == encoded.labels[-1] == 2
    assert encoded.labels[0] == IGNORE_INDEX


def test_a_tokenizer_without_bos_gives_none() -> None:
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=tiny_tokenizer().backend_tokenizer, eos_token="</s>", pad_token="<pad>"
    )
    made = TextEncoder(tokenizer, protocol("clean"))
    assert made.bos_id is None
    assert made.encode_prompt("rain") == made._tokenise(["rain"])[0]


def test_a_tokenizer_written_in_python_works_as_well() -> None:
    """ByT5 reads bytes, each shifted by its three special tokens; it has no BOS."""
    made = TextEncoder(ByT5Tokenizer(), protocol("clean"))
    assert made.encode_prompt("rain</s>") == [byte + 3 for byte in b"rain</s>"]
    encoded = made.encode_example(example())
    assert encoded.labels[-1] == made.eos_id
    assert made.decode(encoded.input_ids) == example().prompt + example().target
    assert made.tokenizer_state() is None


def test_listed_answers_have_the_ids_that_training_has() -> None:
    encoder = TextEncoder(tiny_tokenizer(), protocol("clean"))
    answers = ["the correct answer is true", "the correct answer is false"]
    prompts = ["is rain wet?\n", "is rain wet? the"]  # a tokenizer may merge the second one's seam
    for prompt, listed in zip(prompts, encoder.encode_answers(prompts, [answers, answers[:1]]), strict=True):
        assert len(listed) == (2 if prompt == prompts[0] else 1)
        for ids, answer in zip(listed, answers, strict=False):
            trained = encoder.encode_example(Example("", "", prompt, answer, ""))
            assert ids == [label for label in trained.labels if label != IGNORE_INDEX]
