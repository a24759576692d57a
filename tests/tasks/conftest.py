"""The tokenizers of the paper's backbones, where the published files are at hand."""

import gzip
import shutil
from pathlib import Path

import pytest
from transformers import AutoTokenizer, PreTrainedTokenizerBase


@pytest.fixture(scope="session")
def llama2_tokenizer(real_data: Path) -> PreTrainedTokenizerBase:
    """Llama 1 and 2: SentencePiece with byte fallback, 32,000 tokens, no pad token."""
    tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(real_data / "tokenizers" / "llama2")
    return tokenizer


@pytest.fixture(scope="session")
def llama3_tokenizer(real_data: Path, tmp_path_factory: pytest.TempPathFactory) -> PreTrainedTokenizerBase:
    """Llama 3: byte-level BPE, 128,256 tokens, neither an unknown nor a pad token."""
    source, folder = real_data / "tokenizers" / "llama3", tmp_path_factory.mktemp("llama3")
    shutil.copy(source / "tokenizer_config.json", folder)
    with gzip.open(source / "tokenizer.json.gz") as packed, (folder / "tokenizer.json").open("wb") as unpacked:
        shutil.copyfileobj(packed, unpacked)
    tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(folder)
    return tokenizer
