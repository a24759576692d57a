"""The engine that ``evaluation.engine`` names, open for one evaluation.

Does not: check whether it can work here (``wegeft.evaluation.vllm_engine.check`` does, before a run trains).
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from torch import nn

from wegeft.evaluation.config import EvaluationConfig
from wegeft.evaluation.engine import Engine
from wegeft.tasks.encoding import TextEncoder


@contextmanager
def open_engine(
    model: nn.Module, encoder: TextEncoder, config: EvaluationConfig, folder: Path, max_new_tokens: int
) -> Iterator[Engine]:
    """The engine for answers of at most ``max_new_tokens``; ``folder`` is the run's own, where exports lie."""
    if config.engine == "hf":
        from wegeft.evaluation.in_process import InProcess

        yield InProcess(model, encoder, config)
        return
    from wegeft.evaluation.vllm_engine.engine import VllmEngine

    with VllmEngine(model, encoder, config, folder, max_new_tokens) as engine:
        yield engine
