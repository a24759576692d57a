"""A stand-in for vLLM, which needs a GPU: what lm-eval uses of it, by transformers and PEFT, without batches or cache.

It loads what the real one would be given, so it shows what was written and asked; it shows nothing of vLLM itself.
"""

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM

ARGUMENTS = "VLLM_STAND_IN_ARGUMENTS"
"""Environment variable with the file that the arguments are written to."""


@dataclass(frozen=True)
class SamplingParams:
    """The fields that are asked for; another is an error."""

    temperature: float
    max_tokens: int
    ignore_eos: bool
    stop_token_ids: Sequence[int]
    detokenize: bool


def TokensPrompt(prompt_token_ids: list[int]) -> dict[str, list[int]]:
    """A prompt of ids."""
    return {"prompt_token_ids": prompt_token_ids}


class LLM:
    """A model that answers greedily."""

    def __init__(self, model: str, dtype: str, enable_lora: bool, max_model_len: int, **others: Any) -> None:
        own = {"model": model, "dtype": dtype, "enable_lora": enable_lora, "max_model_len": max_model_len}
        Path(os.environ[ARGUMENTS]).write_text(json.dumps({**own, **others}))
        print("a line of vLLM's own")
        self._model: Any = AutoModelForCausalLM.from_pretrained(model, dtype=getattr(torch, dtype)).eval()
        self._max_model_len = max_model_len
        self.llm_engine = SimpleNamespace(model_config=SimpleNamespace(max_model_len=max_model_len))

    def generate(
        self, prompts: Sequence[dict[str, list[int]]], sampling_params: Any, use_tqdm: bool, lora_request: Any
    ) -> list[Any]:
        """One answer to each prompt."""
        assert use_tqdm
        if lora_request is not None:
            assert not isinstance(self._model, PeftModel)
            self._model = PeftModel.from_pretrained(self._model, lora_request.lora_path).eval()
        pairs = zip(prompts, sampling_params, strict=True)
        return [self._answer(prompt["prompt_token_ids"], settings) for prompt, settings in pairs]

    @torch.inference_mode()
    def _answer(self, prompt_ids: list[int], settings: SamplingParams) -> Any:
        assert len(prompt_ids) + settings.max_tokens <= self._max_model_len
        assert (settings.temperature, settings.ignore_eos, settings.detokenize) == (0.0, True, False)
        ids: list[int] = []
        for _ in range(settings.max_tokens):
            ids.append(int(self._model(input_ids=torch.tensor([prompt_ids + ids])).logits[0, -1].argmax()))
            if ids[-1] in settings.stop_token_ids:
                return SimpleNamespace(outputs=[SimpleNamespace(token_ids=ids, finish_reason="stop")])
        return SimpleNamespace(outputs=[SimpleNamespace(token_ids=ids, finish_reason="length")])
