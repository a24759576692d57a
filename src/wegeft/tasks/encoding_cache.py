"""Encoded training sets kept on disk, so that the second run on the same data starts at once.

The file's name is a hash of everything that decides the ids: the tokenizer, the special tokens, the protocol and every
rendered example. Nothing can be stale; nothing is ever looked up by a name. What a tokenizer written in Python encodes
is not kept, because its data do not say all.

Does not: clean up. The folder may be deleted at any time.
"""

import hashlib
import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path

from safetensors import SafetensorError
from safetensors.numpy import load, save

from wegeft.files import check_writable, write_atomically
from wegeft.tasks.base import Example
from wegeft.tasks.encoding import EncodedSet, TextEncoder

FOLDER_VARIABLE = "WEGEFT_CACHE"
FORMAT = 1
"""Raised when the same key would mean other ids, that is when the encoder changes."""

SMALLEST = 20_000
"""Sets below this size are encoded faster than a person notices, and are not kept."""


def cache_folder() -> Path:
    """``WEGEFT_CACHE``, or ``wegeft`` in the user's cache folder."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(os.environ.get(FOLDER_VARIABLE) or Path(base) / "wegeft")


def encode_cached(
    encoder: TextEncoder,
    examples: Sequence[Example],
    folder: Path,
    advance: Callable[[int], None] | None = None,
    smallest: int = SMALLEST,
) -> EncodedSet:
    """As ``encoder.encode_examples(examples)``, read from ``folder`` if it was done before.

    Raises:
        UserError: as the encoder does, or ``folder`` cannot be written to.
    """
    name = key(encoder, examples) if len(examples) >= smallest else None
    if name is None:
        return encoder.encode_examples(examples, advance)
    path = folder / "encoded" / f"{name}.safetensors"
    found = _read(path, encoder)
    if found is None:
        check_writable(FOLDER_VARIABLE, folder)
        found = encoder.encode_examples(examples, advance)
        write_atomically(path, _to_bytes(found))
    elif advance is not None:
        advance(len(examples))
    return found


def key(encoder: TextEncoder, examples: Sequence[Example]) -> str | None:
    """Hash of everything that decides the ids; None where the tokenizer cannot say what does."""
    tokenizer = encoder.tokenizer_state()
    if tokenizer is None:
        return None
    digest = hashlib.sha256()
    rules = encoder.protocol.model_dump(mode="json")
    digest.update(json.dumps([FORMAT, rules, encoder.bos_id, encoder.eos_id, encoder.pad_id]).encode())
    digest.update(tokenizer.encode())
    for example in examples:
        digest.update(json.dumps([example.uid, example.prompt, example.target]).encode())
    return digest.hexdigest()


def _to_bytes(found: EncodedSet) -> bytes:
    notes = json.dumps({"truncated": found.truncated, "skipped": found.skipped})
    arrays = {"ids": found.ids_N, "ends": found.ends, "prompt_lengths": found.prompt_lengths}
    content: bytes = save(arrays, metadata={"notes": notes})
    return content


def _read(path: Path, encoder: TextEncoder) -> EncodedSet | None:
    """The kept set; None if there is none, or a broken one."""
    if not path.is_file():
        return None
    content = path.read_bytes()
    try:
        arrays = load(content)
    except SafetensorError:
        return None  # written over with a whole one
    header_length = int.from_bytes(content[:8], "little")
    notes = json.loads(json.loads(content[8 : 8 + header_length])["__metadata__"]["notes"])
    return EncodedSet(
        ids_N=arrays["ids"],
        ends=arrays["ends"],
        prompt_lengths=arrays["prompt_lengths"],
        truncated=tuple(notes["truncated"]),
        skipped=tuple(notes["skipped"]),
        protocol=encoder.protocol,
        pad_id=encoder.pad_id,
    )
