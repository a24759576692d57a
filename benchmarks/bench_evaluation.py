"""Greedy answers to 500 real BoolQ questions: our path beside four at a time, in the order of the file, unmerged.

``python -m benchmarks.bench_evaluation --model FOLDER --data-root FOLDER`` adapts a local Llama with a WeGeFT of random
factors, answers both ways in turns and compares what the extractor reads. Writes benchmarks/evaluation.json; nothing
asserts these figures.
"""

import argparse
import json
import statistics
import time
from pathlib import Path
from typing import Any

import torch
from hydra import compose, initialize_config_dir

from benchmarks.conditions import conditions
from wegeft import models
from wegeft.cli import CONFIG_FOLDER, to_run_config
from wegeft.config import RunConfig
from wegeft.evaluation.decoding import Chooser, DecodingConfig
from wegeft.evaluation.generate import generate
from wegeft.evaluation.shared_prefix import grouped, prefix_of
from wegeft.methods import build_method
from wegeft.methods.base import Method
from wegeft.tasks import build_task
from wegeft.tasks.encoding import TextEncoder
from wegeft.tasks.protocol import ProtocolConfig
from wegeft.tasks.text import TextTask

RESULT = Path(__file__).with_name("evaluation.json")
ROWS = 500
OFFICIAL_BATCH = 4


def main() -> None:
    """Time, compare and write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", required=True, help="folder of a Llama checkpoint")
    parser.add_argument("--data-root", required=True, help="folder of the real rows")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    circumstances = conditions()
    config, task, method, encoder, prompts = questions(options.model, options.data_root)
    answers: dict[str, list[str]] = {}
    seconds: dict[str, list[float]] = {"unmerged, four at a time": [], "ours": []}
    for _ in range(options.rounds):
        for name, times in seconds.items():
            started = time.perf_counter()
            answers[name] = (
                slow(method, encoder, prompts, task)
                if name != "ours"
                else ours(method, encoder, prompts, task, config.evaluation.usual_batch_size(on_gpu=False))
            )
            times.append(time.perf_counter() - started)
    (extractor,) = task.extractors("boolq").values()
    read = {name: [extractor.extract(text) for text in texts] for name, texts in answers.items()}
    agree = sum(a == b for a, b in zip(*read.values(), strict=True))
    report = {
        "model": Path(options.model).name,
        "questions": len(prompts),
        "batch_size": config.evaluation.usual_batch_size(on_gpu=False),
        "seconds": seconds,
        "rate_ratio": statistics.median(seconds["unmerged, four at a time"]) / statistics.median(seconds["ours"]),
        "same_extracted_answer": agree,
        **circumstances,
    }
    RESULT.write_text(json.dumps(report, indent=1) + "\n")
    print(f"{report['rate_ratio']:.2f} times the rate; {agree} of {len(prompts)} extracted answers are the same")


def questions(model: str, data_root: str) -> tuple[RunConfig, TextTask, Method, TextEncoder, list[list[int]]]:
    """The configuration, the BoolQ prompts of it and the adapted Llama in the folder ``model``."""
    with initialize_config_dir(str(CONFIG_FOLDER), version_base="1.3"):
        words = [
            "scale=small",
            "protocol=clean",
            "protocol.max_length=512",
            "method.r=8",
            f"data.root={data_root}",
        ]
        words += ["model=local_llama", f"model.source={model}"]
        config = to_run_config(compose("config", overrides=words))
    task = build_task(config.task)
    assert isinstance(task, TextTask)
    assert isinstance(config.protocol, ProtocolConfig)
    backbone = models.load(config.model, torch.device("cpu"))
    method = adapted(backbone.model, config.method)
    encoder = TextEncoder(backbone.processor, config.protocol)
    prompts = [encoder.encode_prompt(example.prompt) for example in task.test_examples()["boolq"]]
    prompts = [ids for ids in prompts if len(ids) + task.max_new_tokens <= config.protocol.max_length][:ROWS]
    return config, task, method, encoder, prompts


def adapted(model: torch.nn.Module, node: dict[str, Any]) -> Method:
    """``model`` with a method whose factors are small and not zero, so that it changes the answers."""
    method = build_method(node)
    method.attach(model)
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in method.trainable().values():
            parameter.normal_(std=0.02)
    model.eval()
    return method


def slow(method: Method, encoder: TextEncoder, prompts: list[list[int]], task: TextTask) -> list[str]:
    """As the official code evaluates: the adapter beside the weights, four questions at a time as they come."""
    texts: list[str] = []
    for first in range(0, len(prompts), OFFICIAL_BATCH):
        texts += answer(method, encoder, prompts[first : first + OFFICIAL_BATCH], task.max_new_tokens, OFFICIAL_BATCH)
    return texts


def ours(method: Method, encoder: TextEncoder, prompts: list[list[int]], task: TextTask, batch_size: int) -> list[str]:
    """Merged, sorted by length, in batches of the default size that start from what all prompts have in common."""
    method.merge()
    texts = answer(method, encoder, prompts, task.max_new_tokens, batch_size, shares=True)
    method.unmerge()
    return texts


def answer(
    method: Method,
    encoder: TextEncoder,
    prompts: list[list[int]],
    max_new_tokens: int,
    batch_size: int,
    shares: bool = False,
) -> list[str]:
    """The text generated for each prompt; ``shares`` says whether the ids that all begin with are run only once."""
    texts = [""] * len(prompts)
    prefix = None
    if shares:
        (group,) = grouped(prompts, [""] * len(prompts), batch_size)
        prefix = prefix_of(method.backbone, encoder, prompts[0][: group.shared])

    def keep(position: int, ids: list[int]) -> None:
        texts[position] = encoder.decode(ids)

    chooser = Chooser(DecodingConfig(), prompts, [""] * len(prompts))
    generate(method.backbone, encoder, prompts, max_new_tokens, batch_size, chooser, keep, prefix)
    return texts


if __name__ == "__main__":
    main()
