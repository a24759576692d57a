"""Greedy answers to 500 real BoolQ questions with and without running the ids that all of them begin with only once.

``python -m benchmarks.bench_shared_prefix --model FOLDER --data-root FOLDER`` answers both ways in turns, in batches of
the default size by the merged Llama in the folder: once whole answers, once one new token, which is the pass over the
prompts alone. ``--width`` and ``--layers`` take a Llama of random weights in that size over the same tokenizer instead,
whose passes over a prompt cost what they cost at that size. Writes benchmarks/shared_prefix.json, one entry per size;
nothing asserts these figures.
"""

import argparse
import json
import statistics
import time
from pathlib import Path
from typing import Any

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from benchmarks.bench_evaluation import adapted, answer, questions
from benchmarks.conditions import conditions
from wegeft.evaluation.shared_prefix import common

RESULT = Path(__file__).with_name("shared_prefix.json")
HEAD_WIDTH = 64


def main() -> None:
    """Time, compare and write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", required=True, help="folder of a Llama checkpoint")
    parser.add_argument("--data-root", required=True, help="folder of the real rows")
    parser.add_argument("--width", type=int, help="of a Llama of random weights")
    parser.add_argument("--layers", type=int, default=8, help="of a Llama of random weights")
    parser.add_argument("--questions", type=int, default=500)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    circumstances = conditions()
    config, task, method, encoder, prompts = questions(options.model, options.data_root)
    prompts = prompts[: options.questions]
    if options.width:
        method = adapted(random_llama(len(encoder.tokenizer), options.width, options.layers), config.method)
    method.merge()
    size = config.evaluation.usual_batch_size(on_gpu=False)
    report: dict[str, Any] = {
        "model": f"random, {options.layers} layers of {options.width}" if options.width else Path(options.model).name,
        "questions": len(prompts),
        "batch_size": size,
        "prompt_tokens": sum(map(len, prompts)),
        "shared_tokens": common(prompts),
        **circumstances,
    }
    for name, new_tokens in (("whole answers", task.max_new_tokens), ("one new token", 1)):
        texts: dict[bool, list[str]] = {}
        seconds: dict[bool, list[float]] = {False: [], True: []}
        for _ in range(options.rounds):
            for shares, times in seconds.items():
                started = time.perf_counter()
                texts[shares] = answer(method, encoder, prompts, new_tokens, size, shares)
                times.append(time.perf_counter() - started)
        report[name] = {
            "seconds": {"without": seconds[False], "with": seconds[True]},
            "rate_ratio": statistics.median(seconds[False]) / statistics.median(seconds[True]),
            "same_text": sum(a == b for a, b in zip(texts[False], texts[True], strict=True)),
        }
        print(
            f"{name}: {report[name]['rate_ratio']:.2f} times the rate; {report[name]['same_text']} texts are the same"
        )
    known = json.loads(RESULT.read_text()) if RESULT.is_file() else {}
    RESULT.write_text(json.dumps({**known, report["model"]: report}, indent=1) + "\n")


def random_llama(vocabulary: int, width: int, layers: int) -> LlamaForCausalLM:
    """A Llama over so many tokens, with the proportions of the large ones."""
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=width,
        intermediate_size=4 * width,
        num_hidden_layers=layers,
        num_attention_heads=width // HEAD_WIDTH,
        num_key_value_heads=max(1, width // HEAD_WIDTH // 4),
    )
    model: LlamaForCausalLM = LlamaForCausalLM(config)
    model.eval()
    return model


if __name__ == "__main__":
    main()
