"""The answers of an unfinished evaluation, kept as they come, so that a killed one goes on where it stopped.

``samples.partial.jsonl`` begins with a fingerprint of the questions and of the weights that answer them; each further
line is one answer with a checksum. Lines from a damaged one on are dropped, and a file of another fingerprint is
begun again, so an answer is used only if the very same weights gave it to the very same question.

Does not: score, or know how answers are made.
"""

import hashlib
import json
import time
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import is_traceable_wrapper_subclass

from wegeft.evaluation.samples import SAMPLES, Sample, write_samples
from wegeft.files import storage_errors
from wegeft.training.distributed import current

PARTIAL = "samples.partial.jsonl"


@dataclass(frozen=True)
class Answer:
    """What a model wrote.

    Attributes:
        text: special tokens removed.
        tokens: new tokens, EOS included.
    """

    text: str
    tokens: int


class Journal:
    """The file of answers in one run's folder, open for more; of several processes only the main one reads and writes.

    Attributes:
        known: the answers so far, by question.
    """

    def __init__(self, folder: Path, fingerprint: str) -> None:
        self._path = folder / PARTIAL
        self._fingerprint = fingerprint
        self._world = current()
        self._started, self._before = time.perf_counter(), 0.0
        self.known: dict[str, Answer] = {}

    @property
    def seconds(self) -> float:
        """Wall time of the evaluation so far, over all its parts if it was interrupted."""
        return self._before + time.perf_counter() - self._started

    def __enter__(self) -> "Journal":
        if self._world.is_main:
            whole = self._read()
            with storage_errors(self._path):
                self._path.parent.mkdir(parents=True, exist_ok=True)
                self._file = self._path.open("ab")
                self._file.truncate(whole)
                if whole == 0:
                    self._append({"of": self._fingerprint})
        known = self._world.collect({question: asdict(answer) for question, answer in self.known.items()})[0]
        self.known = {question: Answer(**fields) for question, fields in known.items()}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._world.is_main:
            self._file.close()

    def add(self, question: str, answer: Answer) -> None:
        """Keep the ``answer`` to ``question``.

        Raises:
            StorageError: it cannot be written; the answers before it are whole.
        """
        self.known[question] = answer
        if self._world.is_main:
            with storage_errors(self._path):
                self._append({"question": question, **asdict(answer), "seconds": round(self.seconds, 3)})

    def drop(self) -> None:
        """Remove the file; the evaluation is over and its samples are kept elsewhere."""
        self._path.unlink(missing_ok=True)

    def _append(self, entry: dict[str, Any]) -> None:
        self._file.write(_line(entry))
        self._file.flush()

    def _read(self) -> int:
        """Take in the answers of the file; returns how many of its bytes are whole and of this evaluation."""
        whole = 0
        for line in self._path.read_bytes().splitlines(keepends=True) if self._path.is_file() else ():
            entry = _entry(line)
            if entry is None or (whole == 0 and entry.get("of") != self._fingerprint):
                break
            if whole:
                self.known[entry["question"]] = Answer(entry["text"], entry["tokens"])
                self._before = entry["seconds"]
            whole += len(line)
        return whole


def keep(samples: Sequence[Sample], folder: Path, journal: Journal) -> Path:
    """Write the ``samples`` of an evaluation that is over, once for all processes; returns their path."""
    if current().is_main:
        write_samples(samples, folder)
        journal.drop()
    return folder / SAMPLES


def fingerprint(model: nn.Module, questions: Sequence[Sequence[str]]) -> str:
    """Hash of every bit of the weights of ``model`` and of the ``questions``, the same on any machine."""
    digest = hashlib.sha256(json.dumps(questions).encode())
    for name, tensor in model.state_dict().items():
        for part in _plain(tensor):
            digest.update(f"{name} {torch.hash_tensor(part).item()}".encode())
    return digest.hexdigest()


def _plain(tensor: Tensor) -> Iterator[Tensor]:
    """What ``tensor`` is made of: the part of a sharded one that lies here, bits and scales of a quantised one."""
    wrapper: Any = tensor
    if not is_traceable_wrapper_subclass(wrapper):
        yield tensor
        return
    for name in wrapper.__tensor_flatten__()[0]:
        part = getattr(wrapper, name)
        if isinstance(part, Tensor):  # a sharded tensor also names the mesh of its devices
            yield from _plain(part)


def _line(entry: dict[str, Any]) -> bytes:
    text = json.dumps(entry)
    return f"{zlib.crc32(text.encode()):08x} {text}\n".encode()


def _entry(line: bytes) -> dict[str, Any] | None:
    """What a line says; None if it is cut short or changed."""
    checksum, _, text = line.partition(b" ")
    if not line.endswith(b"\n") or checksum != f"{zlib.crc32(text[:-1]):08x}".encode():
        return None
    entry: dict[str, Any] = json.loads(text)
    return entry
