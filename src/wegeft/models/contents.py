"""What a backbone is made of, by content: two sources of one name can hold different weights.

A folder or file gives the SHA-256 of everything in it that a result depends on, a hub id the commit that its revision
means now, which is the hub's own hash of the same.

Does not: read what it hashes, or fetch weights that the backbone itself would not.
"""

import hashlib
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path

from wegeft.config import ModelConfig
from wegeft.errors import UserError
from wegeft.models import COMMIT
from wegeft.models.hub import hub_commit
from wegeft.models.packaged import packaged_folder
from wegeft.progress import Advance, progress

WEIGHTS = "model*.safetensors"
BESIDE = ("config.json", "generation_config.json", "*token*", "vocab*", "merges.txt", "*.model", "chat_template*")
"""Architecture, stop tokens and tokenizer, as transformers and timm name their files."""

_BLOCK = 64 * 2**20
_QUICK = 16
"""So many blocks take no two seconds, and need no progress bar."""

_KNOWN: dict[tuple[Path, int, int], str] = {}


def content_hashes(config: ModelConfig) -> dict[str, str]:
    """Hex digests by file name, or the hub's commit under `wegeft.models.COMMIT`; nothing where no file decides.

    Raises:
        UserError: ``model.source`` cannot be had.
    """
    is_random = config.weights == "random"
    if is_random and not config.untrained_control:
        return {}  # for cost measurements, which keep no score
    folder = packaged_folder(config.source) or Path(config.source).expanduser()
    wanted: tuple[str, ...] = BESIDE if is_random else (WEIGHTS, *BESIDE)
    if folder.is_file():  # of weights
        folder, wanted = folder.parent, (folder.name, "config.json")
    if not folder.is_dir():
        try:
            return {COMMIT: hub_commit(config)}
        except UserError:
            if is_random:  # then nothing of it was needed, or loading would have failed
                return {}
            raise
    files = sorted({path for pattern in wanted for path in folder.glob(pattern) if path.is_file()})
    return {path.name: digest for path, digest in zip(files, _digests(files), strict=True)}


def _digests(files: Sequence[Path]) -> list[str]:
    """SHA-256 of each file; one that has not changed since is not read again by this process."""
    states = [(path, *_state(path)) for path in files]
    missing = [state for state in states if state not in _KNOWN]
    blocks = sum(-(-size // _BLOCK) for _, size, _ in missing)
    bar = progress(blocks, "hash the backbone's files, blocks of 64 MiB") if blocks > _QUICK else nullcontext()
    with bar as advance:
        for state in missing:
            _KNOWN[state] = _sha256(state[0], advance)
    return [_KNOWN[state] for state in states]


def _state(path: Path) -> tuple[int, int]:
    found = path.stat()
    return found.st_size, found.st_mtime_ns


def _sha256(path: Path, advance: Advance | None) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
            if advance is not None:
                advance()
    return digest.hexdigest()
