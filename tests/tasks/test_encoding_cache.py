"""The cache of encoded sets: the same ids from disk, and never those of another text, tokenizer or protocol."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from transformers import CTRLTokenizer, PreTrainedTokenizerFast

from tests.tasks.tiny import protocol, row, tiny_tokenizer
from wegeft.errors import StorageError
from wegeft.tasks.base import Example
from wegeft.tasks.encoding import EncodedSet, TextEncoder
from wegeft.tasks.encoding_cache import SMALLEST, cache_folder, encode_cached, key


def examples(count: int = 6) -> list[Example]:
    rows = [row("why " * (1 + 9 * (number % 3))) for number in range(count)]
    return [
        Example(f"boolq/train/{number}", "boolq", found["instruction"] + "\n", found["output"], "true")
        for number, found in enumerate(rows)
    ]


def encoder(name: str = "clean", *overrides: str) -> TextEncoder:
    return TextEncoder(tiny_tokenizer(), protocol(name, *overrides))


def content(found: EncodedSet) -> tuple[list[object], tuple[str, ...], tuple[str, ...]]:
    return list(found), found.truncated, found.skipped


@pytest.mark.parametrize("name", ["clean", "v5"])
def test_the_second_time_comes_from_disk_and_is_the_same(name: str, tmp_path: Path) -> None:
    made = encoder(name, "max_length=90", "truncation=skip")
    first = encode_cached(made, examples(), tmp_path, smallest=1)
    assert first.skipped == ("boolq/train/2", "boolq/train/5")
    (path,) = (tmp_path / "encoded").iterdir()
    written = path.stat().st_mtime_ns
    steps: list[int] = []
    second = encode_cached(made, examples(), tmp_path, steps.append, smallest=1)
    assert content(second) == content(first) == content(made.encode_examples(examples()))
    assert steps == [6]
    assert path.stat().st_mtime_ns == written


def test_a_broken_file_is_encoded_again(tmp_path: Path) -> None:
    first = encode_cached(encoder(), examples(), tmp_path, smallest=1)
    (path,) = (tmp_path / "encoded").iterdir()
    whole = path.read_bytes()
    path.write_bytes(whole[:50])
    assert content(encode_cached(encoder(), examples(), tmp_path, smallest=1)) == content(first)
    assert path.read_bytes() == whole


def test_the_key_sees_whatever_decides_the_ids() -> None:
    base = examples()
    other_tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=tiny_tokenizer().backend_tokenizer, bos_token="<unk>", eos_token="</s>", pad_token="<pad>"
    )
    keys = {
        key(encoder(), base),
        key(encoder("v5"), base),
        key(encoder("clean", "max_length=100"), base),
        key(TextEncoder(other_tokenizer, protocol("clean")), base),
        key(encoder(), base[:-1]),
        key(encoder(), [*base[:-1], replace(base[-1], target="the correct answer is false")]),
        key(encoder(), [*base[:-1], replace(base[-1], prompt=base[-1].prompt + " ")]),
        key(encoder(), base[::-1]),
    }
    assert len(keys) == 8
    assert key(encoder(), base) == key(encoder(), examples())


def ctrl_tokenizer(folder: Path, merges: Sequence[str]) -> CTRLTokenizer:
    """A tokenizer written in Python, whose ids its vocabulary alone does not decide."""
    words = ["<unk>", "</s>", *(f"{text}{end}" for end in ("</w>", "@@") for text in ("a", "b", "c", "ab", "bc"))]
    (folder / "vocab.json").write_text(json.dumps({word: number for number, word in enumerate(words)}))
    (folder / "merges.txt").write_text("\n".join(["#version: 0.2", *merges, ""]))
    return CTRLTokenizer(str(folder / "vocab.json"), str(folder / "merges.txt"), eos_token="</s>", pad_token="b@@")


def test_a_tokenizer_that_cannot_be_written_down_is_not_kept(tmp_path: Path) -> None:
    base = [Example("x/train/0", "x", "abc", " abc", "abc")]
    found = []
    for merges in (("a b", "b c</w>"), ("b c</w>", "a b")):
        made = TextEncoder(ctrl_tokenizer(tmp_path, merges), protocol("clean"))
        steps: list[int] = []
        found.append(encode_cached(made, base, tmp_path, steps.append, smallest=1))
        assert content(found[-1]) == content(made.encode_examples(base))
        assert steps == [1]
    assert content(found[0]) != content(found[1])
    assert not (tmp_path / "encoded").exists()


def test_small_sets_leave_nothing_behind(tmp_path: Path) -> None:
    assert len(examples()) < SMALLEST
    encode_cached(encoder(), examples(), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_cache_that_cannot_be_written_is_refused_before_the_work(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    steps: list[int] = []
    with pytest.raises(StorageError, match=r"^WEGEFT_CACHE=.*/file cannot be written to \(Not a directory\)"):
        encode_cached(encoder(), examples(), tmp_path / "file", steps.append, smallest=1)
    assert steps == []


def test_where_the_cache_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("WEGEFT_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "wegeft"
    monkeypatch.setenv("WEGEFT_CACHE", str(tmp_path / "mine"))
    assert cache_folder() == tmp_path / "mine"


def test_tokenising_leaves_the_tokenizer_as_it_was() -> None:
    tokenizer = tiny_tokenizer()
    before = tokenizer("<s> true </s>")["input_ids"]
    padded = tokenizer(["true", "the answer"], padding=True, truncation=True, max_length=3)["input_ids"]
    made = TextEncoder(tokenizer, protocol("clean"))
    long = made.encode_prompt("the correct answer is true or false, " * 4)
    assert len(long) > 20  # the wrapper's truncation to three does not linger
    assert tokenizer("<s> true </s>")["input_ids"] == before
    assert tokenizer(["true", "the answer"], padding=True, truncation=True, max_length=3)["input_ids"] == padded
