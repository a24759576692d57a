"""One optimiser step's loss on 16 rows with a large vocabulary: logits where labels are and no padding, or all of both.

``python -m benchmarks.bench_step --tokenizer FOLDER --data-root FOLDER`` builds a shallow Llama with the vocabulary of
the tokenizer and random weights, adapts it with WeGeFT, and times forward and backward of all forms in turns on the
first rows of the real commonsense training set. Writes benchmarks/step.json; nothing asserts these figures.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
from hydra import compose, initialize_config_dir
from torch import Tensor, nn
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

from benchmarks.conditions import conditions
from wegeft.cli import CONFIG_FOLDER, to_run_config
from wegeft.methods import build_method
from wegeft.tasks import build_task
from wegeft.tasks.encoding import Encoded, TextEncoder
from wegeft.tasks.protocol import ProtocolConfig
from wegeft.tasks.text import TextTask
from wegeft.training.flat_attention import flat_attention
from wegeft.training.objective import full_logits_loss_sum, label_only_loss_sum

RESULT = Path(__file__).with_name("step.json")
ROWS = 16
FULL, MASKED, OURS = "padded, full logits", "flat with a mask, label-only logits", "flat, label-only logits"


def main() -> None:
    """Time and write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--tokenizer", required=True, help="folder of a tokenizer, e.g. Llama 3's")
    parser.add_argument("--data-root", required=True, help="folder of the real rows")
    parser.add_argument("--width", type=int, default=512)
    parser.add_argument("--layers", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5, help="timed rounds after one that warms up")
    options = parser.parse_args()
    circumstances = conditions()
    with initialize_config_dir(str(CONFIG_FOLDER), version_base="1.3"):
        words = ["scale=paper", "protocol=clean", f"data.root={options.data_root}", "method.weight_dropout=0"]
        config = to_run_config(compose("config", overrides=words))
    task = build_task(config.task)
    assert isinstance(task, TextTask)
    assert isinstance(config.protocol, ProtocolConfig)
    encoder = TextEncoder(AutoTokenizer.from_pretrained(options.tokenizer), config.protocol)
    items = list(encoder.encode_examples(task.train_examples()[:ROWS]))
    model = backbone(len(encoder.tokenizer), options.width, options.layers)
    build_method(config.method).attach(model)
    seconds, logits = timed(model.train(), forms(model, encoder, items), options.rounds)
    medians = {name: statistics.median(times) for name, times in seconds.items()}
    report = {
        "rows": ROWS,
        "positions": sum(len(item.input_ids) for item in items),
        "vocabulary": len(encoder.tokenizer),
        "width": options.width,
        "layers": options.layers,
        "seconds": seconds,
        "logit_bytes": logits,
        "time_ratio": medians[OURS] / medians[FULL],
        "time_ratio_to_masked": medians[OURS] / medians[MASKED],
        "logit_ratio": logits[OURS] / logits[FULL],
        **circumstances,
    }
    RESULT.write_text(json.dumps(report, indent=1) + "\n")
    print(f"time {report['time_ratio']:.3f}, logits {report['logit_ratio']:.4f} of the padded step with full logits")


def backbone(vocabulary: int, width: int, layers: int) -> LlamaForCausalLM:
    """A shallow Llama, fp32, random weights."""
    torch.manual_seed(0)
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=vocabulary,
            hidden_size=width,
            intermediate_size=3 * width,
            num_hidden_layers=layers,
            num_attention_heads=width // 64,
            num_key_value_heads=width // 128,
        )
    )


def forms(model: nn.Module, encoder: TextEncoder, items: list[Encoded]) -> dict[str, Callable[[], Tensor]]:
    """The loss of a step: as most code computes it, without padding and spare logits, and as the suite trains."""

    def full() -> Tensor:
        batch = encoder.collate_train(items)
        return full_logits_loss_sum(model, batch, batch.pop("labels"))

    def masked() -> Tensor:
        batch = encoder.collate_flat(items)
        return label_only_loss_sum(model, batch, batch.pop("labels"))

    def ours() -> Tensor:
        with flat_attention(model):
            return masked()

    return {FULL: full, MASKED: masked, OURS: ours}


def timed(
    model: LlamaForCausalLM, losses: dict[str, Callable[[], Tensor]], rounds: int
) -> tuple[dict[str, list[float]], dict[str, int]]:
    """Seconds of every timed step, and the most bytes of logits that the head gave in one step."""
    seconds: dict[str, list[float]] = {name: [] for name in losses}
    logits: dict[str, int] = {}
    seen: list[int] = []
    model.lm_head.register_forward_hook(lambda _module, _inputs, output: seen.append(output.nbytes))
    for turn in range(rounds + 1):
        for name, loss in losses.items():
            seen.clear()
            started = time.perf_counter()
            loss().backward()
            elapsed = time.perf_counter() - started
            if turn:
                seconds[name].append(elapsed)
            logits[name] = sum(seen)
            model.zero_grad(set_to_none=True)
    return seconds, logits


if __name__ == "__main__":
    main()
