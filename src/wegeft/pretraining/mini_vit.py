"""Pretrain `mini_vit`, a small ViT, on coarse questions about generated creatures.

One linear layer on the class token answers every question of `wegeft.tasks.mini_pictures.pretraining` at once; the
loss is the mean cross-entropy of the answers that a picture has. That layer is thrown away afterwards: what ships is
the body, in the format of timm (``config.json``, ``model.safetensors``), with the log and a card.

Does not: show a picture, a species or a thing of any task.
"""

import csv
import hashlib
import json
import math
import time
from dataclasses import asdict, dataclass
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any, Final

import numpy as np
import timm
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor, nn

from wegeft.progress import progress
from wegeft.tasks.mini_pictures.pretraining import labelled, questions

ARCHITECTURE: Final = "vit_tiny_patch16_224"
"""The timm model whose sizes `Recipe.architecture` replaces."""
NO_ANSWER: Final = -100
LOG_EVERY: Final = 100


@dataclass(frozen=True)
class Recipe:
    """Everything that decides the weights. `held_out` pictures, drawn after the others, measure the answers."""

    seed: int = 0
    pictures: int = 100_000
    held_out: int = 2_000
    passes: int = 5
    size: int = 32
    patch: int = 8
    width: int = 128
    depth: int = 5
    heads: int = 4
    batch: int = 64
    warmup: int = 200
    learning_rate: float = 1e-3
    final_fraction: float = 0.01
    weight_decay: float = 0.05
    betas: tuple[float, float] = (0.9, 0.98)
    clip: float = 1.0

    @property
    def architecture(self) -> dict[str, Any]:
        """The sizes, as arguments of timm's model."""
        return {
            "img_size": self.size,
            "patch_size": self.patch,
            "embed_dim": self.width,
            "depth": self.depth,
            "num_heads": self.heads,
        }


@dataclass(frozen=True)
class Pictures:
    """Pixels (N, H, W, C), uint8, and answers (N, Q), int64, `NO_ANSWER` where a question is not asked."""

    pixels_NHWC: Tensor
    answers_NQ: Tensor

    def batch(self, index_B: Tensor) -> tuple[Tensor, Tensor]:
        """Network input (B, C, H, W) between -1 and 1, and answers (B, Q)."""
        pixels_BCHW = self.pixels_NHWC[index_B].permute(0, 3, 1, 2).float()
        return pixels_BCHW / 127.5 - 1, self.answers_NQ[index_B]


def draw(recipe: Recipe) -> tuple[Pictures, Pictures]:
    """The pretraining pictures, and the held-out ones."""
    total = recipe.pictures + recipe.held_out
    pixels = np.empty((total, recipe.size, recipe.size, 3), np.uint8)
    answers = np.full((total, len(questions())), NO_ANSWER, np.int64)
    columns = {question: column for column, question in enumerate(questions())}
    with progress(total, "drawing") as advance:
        for number in range(total):
            found = labelled(recipe.seed, number, recipe.size)
            pixels[number] = found.picture.pixels_HWC
            for question, answer in found.labels.items():
                answers[number, columns[question]] = answer
            advance()
    whole = Pictures(torch.from_numpy(pixels), torch.from_numpy(answers))
    cut = recipe.pictures
    return (
        Pictures(whole.pixels_NHWC[:cut], whole.answers_NQ[:cut]),
        Pictures(whole.pixels_NHWC[cut:], whole.answers_NQ[cut:]),
    )


def build_model(recipe: Recipe) -> nn.Module:
    """The ViT with one output per answer, fp32, initialised from the recipe's seed."""
    torch.manual_seed(recipe.seed)
    answers = sum(map(len, questions().values()))
    model: nn.Module = timm.create_model(ARCHITECTURE, **recipe.architecture, num_classes=answers)
    return model


def answer_logits(logits_BA: Tensor) -> list[Tensor]:
    """One (B, K) per question of the network's output, whose columns are all answers of all questions."""
    ends = accumulate((len(answers) for answers in questions().values()), initial=0)
    return [logits_BA[:, start:end] for start, end in pairwise(ends)]


def loss_of(logits_BA: Tensor, answers_BQ: Tensor) -> Tensor:
    """Mean cross-entropy over every answer that the pictures of a batch have."""
    sums = [
        F.cross_entropy(logits_BK, answers_B, ignore_index=NO_ANSWER, reduction="sum")
        for logits_BK, answers_B in zip(answer_logits(logits_BA), answers_BQ.T, strict=True)
    ]
    return torch.stack(sums).sum() / (answers_BQ != NO_ANSWER).sum()


def rate_at(step: int, steps: int, recipe: Recipe) -> float:
    """Learning rate: linear warm-up, under a cosine down to `final_fraction` of the peak."""
    floor = recipe.final_fraction
    cosine = floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * step / steps))
    return recipe.learning_rate * cosine * min(1.0, (step + 1) / recipe.warmup)


def pretrain(model: nn.Module, pictures: Pictures, recipe: Recipe) -> list[dict[str, float]]:
    """Train in place with AdamW; returns the log (one row per `LOG_EVERY` steps)."""
    optimizer = torch.optim.AdamW(model.parameters(), betas=recipe.betas, weight_decay=recipe.weight_decay, fused=True)
    log: list[dict[str, float]] = []
    losses: list[float] = []
    started = time.perf_counter()
    order_N = _order(len(pictures.pixels_NHWC), recipe)
    steps = len(order_N) // recipe.batch
    model.train()
    with progress(steps, "pretraining") as advance:
        for step in range(steps):
            rate = rate_at(step, steps, recipe)
            for group in optimizer.param_groups:
                group["lr"] = rate
            input_BCHW, answers_BQ = pictures.batch(order_N[step * recipe.batch : (step + 1) * recipe.batch])
            if torch.rand(()) < 0.5:  # a creature is the same in a mirror
                input_BCHW = input_BCHW.flip(-1)
            losses.append(train_step(model, optimizer, input_BCHW, answers_BQ, recipe.clip))
            seconds = time.perf_counter() - started
            advance(1, f"loss {losses[-1]:.3f} {(step + 1) * recipe.batch / seconds:,.0f} pictures/s")
            if (step + 1) % LOG_EVERY == 0 or step + 1 == steps:
                log.append(log_row(step + 1, recipe, losses, rate, seconds))
                losses.clear()
    return log


def _order(count: int, recipe: Recipe) -> Tensor:
    """Numbers of the pictures in the order in which they are shown, each once a pass."""
    generator = torch.Generator().manual_seed(recipe.seed)
    return torch.cat([torch.randperm(count, generator=generator) for _ in range(recipe.passes)])


def train_step(
    model: nn.Module, optimizer: torch.optim.Optimizer, input_BCHW: Tensor, answers_BQ: Tensor, clip: float
) -> float:
    """One update on a batch; returns the loss. RuntimeError on a loss that is not finite."""
    loss = loss_of(model(input_BCHW), answers_BQ)
    if not torch.isfinite(loss):
        raise RuntimeError("the pretraining loss is not finite")
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), clip)
    optimizer.step()
    optimizer.zero_grad()
    return float(loss.detach())


def log_row(step: int, recipe: Recipe, losses: list[float], rate: float, seconds: float) -> dict[str, float]:
    """One line of training_log.csv; the loss is the mean since the line before."""
    return {
        "step": step,
        "pictures": step * recipe.batch,
        "loss": round(sum(losses) / len(losses), 4),
        "learning_rate": round(rate, 8),
        "seconds": round(seconds, 1),
    }


@torch.inference_mode()
def right_answers(model: nn.Module, pictures: Pictures) -> dict[str, float]:
    """By question, the share of right answers among the pictures that it is asked of."""
    input_NCHW, answers_NQ = pictures.batch(torch.arange(len(pictures.pixels_NHWC)))
    logits = answer_logits(model.eval()(input_NCHW))
    shares = {}
    for question, logits_NK, answers_N in zip(questions(), logits, answers_NQ.T, strict=True):
        asked_N = answers_N != NO_ANSWER
        shares[question] = float((logits_NK.argmax(dim=1) == answers_N)[asked_N].double().mean())
    return shares


def save(model: nn.Module, recipe: Recipe, log: list[dict[str, float]], folder: Path) -> None:
    """Write body, architecture and log."""
    folder.mkdir(parents=True, exist_ok=True)
    body = {name: tensor.contiguous() for name, tensor in model.state_dict().items() if not name.startswith("head.")}
    save_file(body, folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "model.safetensors").chmod(0o644)
    stated = {"architecture": ARCHITECTURE, "model_args": recipe.architecture}
    (folder / "config.json").write_text(json.dumps(stated, indent=2) + "\n", encoding="utf-8")
    with (folder / "training_log.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(log[0]))
        writer.writeheader()
        writer.writerows(log)


CARD: Final = """# {name}

A ViT ({parameters:,} parameters without a head, {depth} blocks of width {width}, {heads} heads, patches of
{patch} pixels in pictures of {size}), pretrained on generated pictures of four kinds of creatures and on nothing else.
It exists so that fine-tuning methods can be compared on images on a CPU, offline, in minutes; it knows no real
pictures. Made by this repository, under its licence.

| | |
|---|---|
| command | `{command}` |
| pictures | world seed {seed}, {pictures:,} pictures |
| pictures sha256 | `{sha}` |
| questions | {questions}: the kind, and per kind what its parts and colours are like, coarsely |
| pictures seen | {seen:,} ({passes} passes: {steps:,} steps of {batch} pictures) |
| loss | {first_loss:.3f} (first {log_every} steps) to {last_loss:.3f} (last {log_every}) |
| right answers, {held_out:,} further pictures | {right:.1%} (the likeliest answer to each: {guess:.1%}) |
| wall time of the training | {minutes:.1f} min, threads: {threads} |
| weights | fp32 |

Pretraining never showed a combination of parts that belongs to a species of the fine-grained tasks, a thing or land of
the others, or any picture of a task; nor was it told finer differences than "a small or a large beak".

Recipe: {recipe}
"""


def build(folder: Path, recipe: Recipe, threads: int, command: str) -> None:
    """Pictures, training, files and card."""
    torch.set_num_threads(threads)
    pictures, further = draw(recipe)
    model = build_model(recipe)
    started = time.perf_counter()
    log = pretrain(model, pictures, recipe)
    minutes = (time.perf_counter() - started) / 60
    save(model, recipe, log, folder)
    right = right_answers(model, further)
    card = CARD.format(
        name=folder.name,
        **asdict(recipe),
        parameters=sum(p.numel() for name, p in model.named_parameters() if not name.startswith("head.")),
        command=command,
        sha=hashlib.sha256(pictures.pixels_NHWC.numpy().tobytes()).hexdigest(),
        questions=len(questions()),
        seen=int(log[-1]["pictures"]),
        steps=int(log[-1]["step"]),
        first_loss=log[0]["loss"],
        last_loss=log[-1]["loss"],
        log_every=LOG_EVERY,
        right=sum(right.values()) / len(right),
        guess=likelier_answer(further),
        minutes=minutes,
        threads=threads,
        recipe=asdict(recipe),
    )
    (folder / "CARD.md").write_text(card, encoding="utf-8")


def likelier_answer(pictures: Pictures) -> float:
    """Mean over questions of the share of the commonest answer."""
    shares = []
    for answers_N in pictures.answers_NQ.T:
        counts_K = answers_N[answers_N != NO_ANSWER].bincount()
        shares.append(float(counts_K.max() / counts_K.sum()))
    return sum(shares) / len(shares)
