"""How vLLM is told of a LoRA."""

from dataclasses import dataclass


@dataclass(frozen=True)
class LoRARequest:
    """A LoRA folder."""

    lora_name: str
    lora_int_id: int
    lora_path: str
