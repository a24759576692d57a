"""The other end of ``worker.py``: starts it on what was exported, and asks it in rounds.

Does not: run where tokens are drawn (``check.py`` refuses that before).
"""

import json
import subprocess
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from torch import nn

from wegeft.errors import UserError
from wegeft.evaluation.config import GPU_USUAL, EvaluationConfig
from wegeft.evaluation.engine import Questions
from wegeft.evaluation.vllm_engine.check import interpreter
from wegeft.evaluation.vllm_engine.export import FOLDER, SETTINGS
from wegeft.tasks.encoding import TextEncoder

WORKER = Path(__file__).with_name("worker.py")
ROUND = 16
"""Batches asked for at once. vLLM fills a place as soon as it is free, so that only the end of a round is not full; a
kill costs the answers of a round."""


class VllmEngine:
    """See :class:`wegeft.evaluation.engine.Engine`; the worker runs as long as the context."""

    def __init__(
        self, model: nn.Module, encoder: TextEncoder, config: EvaluationConfig, folder: Path, max_new_tokens: int
    ) -> None:
        """``folder`` holds what was exported of ``model``; answers have at most ``max_new_tokens``."""
        self._encoder = encoder
        self._python = interpreter(config.vllm_python)
        self._size = config.batch_size if isinstance(config.batch_size, int) else GPU_USUAL
        self._place = folder / FOLDER
        positions = getattr(getattr(model, "config", None), "max_position_embeddings", None)
        longest = encoder.protocol.max_length + max_new_tokens
        self._longest = longest if positions is None else min(longest, positions)

    @property
    def batch_size(self) -> int:
        """See :class:`wegeft.evaluation.engine.Engine`."""
        return self._size

    def __enter__(self) -> "VllmEngine":
        tokenizer = (self._place / "tokenizer").resolve()
        self._encoder.tokenizer.save_pretrained(str(tokenizer))
        arguments = {
            **json.loads((self._place / SETTINGS).read_text()),
            "tokenizer": str(tokenizer),
            "max_model_len": self._longest,
            "max_num_seqs": self._size,
            "seed": 0,
        }
        # A session of its own, so that a signal from the terminal reaches this process alone, which ends the other.
        self._process = subprocess.Popen(
            [self._python, str(WORKER)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        try:
            self._exchange(arguments)
        except BaseException:
            self._close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close()

    def ask(self, questions: Questions) -> "VllmSession":
        """See :class:`wegeft.evaluation.engine.Engine`."""
        return VllmSession(self, questions)

    def answer(self, prompts_ids: Sequence[list[int]], max_new_tokens: int) -> list[list[int]]:
        """Ids generated for each prompt, EOS included.

        Ids that the protocol hides from attention are left out, which is the same: nothing reads them, and positions
        do not count them.

        Raises:
            UserError: the worker has ended.
        """
        prompts = [self._encoder.read_ids(ids) for ids in prompts_ids]
        asked = {"prompts": prompts, "max_new_tokens": max_new_tokens, "eos_id": self._encoder.eos_id}
        answers: list[list[int]] = self._exchange(asked)["answers"]
        return answers

    def _exchange(self, message: dict[str, Any]) -> dict[str, Any]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            print(json.dumps(message), file=self._process.stdin, flush=True)
            line = self._process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            raise UserError(
                f"evaluation.engine=vllm: vLLM ended with code {self._process.wait()}, and its messages stand above; "
                "training and answers so far are kept, and the same command goes on from there."
            )
        found: dict[str, Any] = json.loads(line)
        return found

    def _close(self) -> None:
        self._process.communicate()  # closes its input, at which it ends


class VllmSession:
    """See :class:`wegeft.evaluation.engine.Session`; a batch is a round of questions in their order."""

    def __init__(self, engine: VllmEngine, questions: Questions) -> None:
        self._engine = engine
        self._asked = questions
        positions, size = range(len(questions.prompts_ids)), ROUND * engine.batch_size
        self.batches: Sequence[Sequence[int]] = [positions[i : i + size] for i in range(0, len(positions), size)]

    def answer(self, batch: Sequence[int]) -> list[list[int]]:
        """See :class:`wegeft.evaluation.engine.Session`."""
        return self._engine.answer([self._asked.prompts_ids[p] for p in batch], self._asked.max_new_tokens)
