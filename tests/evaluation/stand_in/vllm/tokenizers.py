"""Tokenizers, as transformers loads them."""

from typing import Any

from transformers import AutoTokenizer


def get_tokenizer(tokenizer: str, tokenizer_mode: str, trust_remote_code: bool, revision: str | None) -> Any:
    """The tokenizer in a folder."""
    assert (tokenizer_mode, trust_remote_code, revision) == ("auto", False, None)
    return AutoTokenizer.from_pretrained(tokenizer)
