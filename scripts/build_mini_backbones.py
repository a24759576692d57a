"""Pretrain the mini backbones that ship with the repository.

`python scripts/build_mini_backbones.py` renders the corpus of the mini world, trains a tokenizer and a small
Llama on it, and writes the weights, the tokenizer, the training log and a card into
src/wegeft/models/mini/<name>/; likewise a small ViT on the mini pictures (wegeft.pretraining.mini_vit). Needs no
network and no GPU. It does not tune on any task and does not read the tasks' test rows.
"""

import argparse
import copy
import csv
import math
import random
import shlex
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from wegeft.progress import progress
from wegeft.tasks.mini_world import corpus
from wegeft.tasks.mini_world.world import Fact, World, build_world

if TYPE_CHECKING:
    import torch
    from transformers import LlamaForCausalLM
    from transformers.tokenization_utils_tokenizers import TokenizersBackend

OUT: Final = Path(__file__).resolve().parents[1] / "src" / "wegeft" / "models" / "mini"
SPECIAL_TOKENS: Final = ("<pad>", "<bos>", "<eos>", "<unk>")
# Words keep the space in front of them, digits stand alone (arithmetic digit by digit), newlines stay together.
PIECES: Final = r"\n+| ?\d| ?[A-Za-z]+| ?[^\sA-Za-z\d]+| +"
LOG_EVERY: Final = 50


@dataclass(frozen=True)
class Recipe:
    """Everything that decides the weights. `batch` is in tokens, with padding."""

    seed: int = 0
    documents: int = corpus.DOCUMENTS
    vocabulary: int = 1536
    width: int = 128
    layers: int = 8
    heads: int = 4
    kv_heads: int = 2
    feed_forward: int = 384
    # Four times the usual 0.02: a network this narrow then learns its first facts in a fraction of the steps.
    initial_std: float = 0.08
    # Small: what has to be learned (facts, finding a label) comes with the number of updates, not of tokens.
    batch: int = 560
    warmup: int = 200
    learning_rate: float = 2e-3
    # The rate falls in the last part only, so that what comes before does not depend on how much follows.
    decay: float = 0.25
    final_fraction: float = 0.02
    weight_decay: float = 0.05
    betas: tuple[float, float] = (0.9, 0.95)
    clip: float = 1.0


def train_tokenizer(texts: list[str], recipe: Recipe) -> "TokenizersBackend":
    """A byte-level BPE over `PIECES`.

    Any text can be encoded, no token is added by itself, pad/bos/eos/unk are ids 0 to 3.
    """
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    backend = Tokenizer(models.BPE(unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(PIECES), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=recipe.vocabulary,
        special_tokens=list(SPECIAL_TOKENS),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    backend.train_from_iterator(texts, trainer)
    pad, bos, eos, unk = SPECIAL_TOKENS
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, pad_token=pad, bos_token=bos, eos_token=eos, unk_token=unk, model_max_length=512
    )


# Token ids of a document, and which of them are learned.
Encoded = tuple[list[int], list[bool]]


def encode(documents: list[corpus.Document], tokenizer: "TokenizersBackend") -> list[Encoded]:
    """Token ids of each document with BOS in front and EOS behind; EOS is learned where the last part is."""
    bos, eos = tokenizer.bos_token_id, tokenizer.eos_token_id
    # No token reaches from a word into the next, so that a document's tokens are those of its parts.
    parts = [part for document in documents for part in document.parts]
    tokens = iter(tokenizer.backend_tokenizer.encode_batch_fast(parts, add_special_tokens=False))
    encoded: list[Encoded] = []
    for document in documents:
        ids, learned = [bos], [False]
        for number in range(len(document.parts)):
            found = next(tokens).ids
            ids += found
            learned += [number % 2 == 1] * len(found)
        encoded.append(([*ids, eos], [*learned, len(document.parts) % 2 == 0]))
    return encoded


def batched(documents: list[Encoded], budget: int, window: int = 256) -> list[list[Encoded]]:
    """Batches of whole documents, each of at most `budget` tokens with its padding.

    The order of the corpus is a curriculum: documents change places with others of the same window only, so that those
    of a batch are about equally long.

    Raises:
        ValueError: a document is longer than the budget.
    """
    groups: list[list[Encoded]] = []
    for start in range(0, len(documents), window):
        chosen: list[list[Encoded]] = [[]]
        for document in sorted(documents[start : start + window], key=lambda one: len(one[0])):
            length = len(document[0])
            if length > budget:
                raise ValueError(f"a document has {length} tokens, more than a batch of {budget}")
            if (len(chosen[-1]) + 1) * length > budget:
                chosen.append([])
            chosen[-1].append(document)
        random.Random(start).shuffle(chosen)
        groups += chosen
    return groups


def padded(documents: list[Encoded]) -> tuple["torch.Tensor", "torch.Tensor"]:
    """One document a row: ids (B, L), int64, padded with 0, and whether each is learned (B, L), bool."""
    import torch

    # A row of its own for every document: heads that look for a token like their own would find it in the neighbours.
    pad = torch.nn.utils.rnn.pad_sequence
    ids, learned = zip(*documents, strict=True)
    return pad([torch.tensor(row) for row in ids], True), pad([torch.tensor(row) for row in learned], True)


def build_model(recipe: Recipe) -> "LlamaForCausalLM":
    """A Llama with grouped-query attention and tied embeddings, fp32, initialised from the recipe's seed."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(recipe.seed)
    config = LlamaConfig(
        vocab_size=recipe.vocabulary,
        hidden_size=recipe.width,
        intermediate_size=recipe.feed_forward,
        num_hidden_layers=recipe.layers,
        num_attention_heads=recipe.heads,
        num_key_value_heads=recipe.kv_heads,
        max_position_embeddings=512,
        initializer_range=recipe.initial_std,
        tie_word_embeddings=True,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
    )
    model = LlamaForCausalLM(config)
    start_as_matching(model)
    return model


def start_as_matching(model: "LlamaForCausalLM") -> None:
    """Make the first head of each key/value group look for tokens like its own, and copy what it finds, from the start.

    Its keys are projected as its queries are, its output as its values are, transposed. Finding the label of a word in
    a list needs such heads; from independent random projections a model this small does not come to form them.
    """
    import torch

    config = model.config
    size = config.hidden_size // config.num_attention_heads
    group = config.num_attention_heads // (config.num_key_value_heads or config.num_attention_heads)
    with torch.no_grad():
        for layer in model.model.layers:
            attention = layer.self_attn
            for key in range(config.num_attention_heads // group):
                head, kept = slice(key * group * size, (key * group + 1) * size), slice(key * size, (key + 1) * size)
                attention.k_proj.weight[kept] = attention.q_proj.weight[head]
                attention.o_proj.weight[:, head] = attention.v_proj.weight[kept].T


def rate_at(step: int, steps: int, recipe: Recipe) -> float:
    """Learning rate: linear warm-up, the peak, then in the last `decay` of the steps linearly to `final_fraction`."""
    left = (steps - 1 - step) / max(1.0, recipe.decay * steps)
    fall = recipe.final_fraction + (1 - recipe.final_fraction) * min(1.0, left)
    return recipe.learning_rate * min(fall, (step + 1) / recipe.warmup)


def pretrain(
    model: "LlamaForCausalLM", documents: list[Encoded], recipe: Recipe, threads: int
) -> list[dict[str, float]]:
    """Train in place with AdamW on predicting the tokens that are learned.

    Returns the log (one row per `LOG_EVERY` steps).
    """
    import torch

    optimizer = torch.optim.AdamW(model.parameters(), betas=recipe.betas, weight_decay=recipe.weight_decay, fused=True)
    replicas = Replicas(model.train(), threads)
    log: list[dict[str, float]] = []
    losses: list[float] = []
    tokens, started = 0, time.perf_counter()
    groups = batched(documents, recipe.batch)
    steps = len(groups)
    with progress(steps, "pretraining") as advance:
        for step, (ids_BL, learned_BL) in enumerate(map(padded, groups)):
            rate = rate_at(step, steps, recipe)
            for group in optimizer.param_groups:
                group["lr"] = rate
            losses.append(train_step(replicas, optimizer, ids_BL, learned_BL, recipe.clip))
            tokens += int((ids_BL != 0).sum())
            seconds = time.perf_counter() - started
            advance(1, f"loss {losses[-1]:.3f} {tokens / seconds:,.0f} tok/s")
            if (step + 1) % LOG_EVERY == 0 or step + 1 == steps:
                log.append(log_row(step + 1, tokens, losses, rate, seconds))
                losses.clear()
    return log


def log_row(step: int, tokens: int, losses: list[float], rate: float, seconds: float) -> dict[str, float]:
    """One line of training_log.csv; the loss is the mean since the line before."""
    loss = round(sum(losses) / len(losses), 4)
    return {"step": step, "tokens": tokens, "loss": loss, "learning_rate": round(rate, 8), "seconds": round(seconds, 1)}


class Replicas:
    """The model once per thread, on the same weights with gradients of their own: data parallelism inside one process.

    Each replica computes on one thread, which is faster for a model this small than sharing every matrix product
    between threads, and does not collapse when the machine is busy.
    """

    def __init__(self, model: "LlamaForCausalLM", count: int) -> None:
        import torch

        torch.set_num_threads(1)
        self.models = [model, *(copy.deepcopy(model) for _ in range(count - 1))]
        self.pool = ThreadPoolExecutor(count)
        for replica in self.models[1:]:
            for own, shared in zip(replica.parameters(), model.parameters(), strict=True):
                own.data = shared.data

    def backward(self, ids_BL: "torch.Tensor", learned_BL: "torch.Tensor") -> float:
        """Gradients of the mean loss over the learned tokens of the batch, on the first replica's parameters.

        Returns that loss.
        """
        count = min(len(self.models), len(ids_BL))
        targets = int(learned_BL[:, 1:].sum())
        losses = self.pool.map(
            lambda model, ids, learned: part_backward(model, ids, learned, targets),
            self.models,
            ids_BL.tensor_split(count),
            learned_BL.tensor_split(count),
        )
        total = sum(losses)
        first, *others = (list(model.parameters()) for model in self.models)
        for parameters in others:
            for target, source in zip(first, parameters, strict=True):
                if target.grad is not None and source.grad is not None:
                    target.grad += source.grad
                source.grad = None
        return total


def part_backward(model: "LlamaForCausalLM", ids_BL: "torch.Tensor", learned_BL: "torch.Tensor", count: int) -> float:
    """Backward of the summed next-token loss of part of a batch divided by `count`, what the whole batch learns."""
    from torch.nn.functional import cross_entropy

    # Padding stands only at the end of a row, so causal attention never looks at it and no mask is needed.
    hidden_BLD = model.model(input_ids=ids_BL, use_cache=False).last_hidden_state[:, :-1]
    learned_BL = learned_BL[:, 1:]
    logits_NV = model.lm_head(hidden_BLD[learned_BL])
    loss = cross_entropy(logits_NV, ids_BL[:, 1:][learned_BL], reduction="sum") / count
    loss.backward()
    return float(loss.detach())


def train_step(
    replicas: Replicas,
    optimizer: "torch.optim.Optimizer",
    ids_BL: "torch.Tensor",
    learned_BL: "torch.Tensor",
    clip: float,
) -> float:
    """One update on a batch; returns the loss. RuntimeError on a loss that is not finite."""
    import torch

    loss = replicas.backward(ids_BL, learned_BL)
    if not math.isfinite(loss):
        raise RuntimeError("the pretraining loss is not finite")
    torch.nn.utils.clip_grad_norm_(replicas.models[0].parameters(), clip)
    optimizer.step()
    optimizer.zero_grad()
    return loss


def knows(model: "LlamaForCausalLM", tokenizer: "TokenizersBackend", facts: tuple[Fact, ...]) -> float:
    """Share of facts whose value is the model's greedy completion of a plain statement."""
    right = sum(completed(model, tokenizer, facts[i : i + 64]) for i in range(0, len(facts), 64))
    return right / len(facts)


def completed(model: "LlamaForCausalLM", tokenizer: "TokenizersBackend", facts: tuple[Fact, ...]) -> int:
    """How many of a batch of facts are completed.

    Every token of the value is the most likely one after those before it.
    """
    import torch

    spans, rows = [], []
    for fact in facts:
        head = fact.prop.completion.split("{v}")[0].rstrip().format(e=fact.entity.name)
        prompt = [tokenizer.bos_token_id, *tokenizer.encode(head, add_special_tokens=False)]
        value = tokenizer.encode(f" {fact.value}", add_special_tokens=False)
        spans.append((len(prompt) - 1, value))
        rows.append(torch.tensor(prompt + value))
    ids_BL = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=0)
    with torch.inference_mode():
        best_BL = model(input_ids=ids_BL, use_cache=False).logits.argmax(-1)
    return sum(best_BL[i, at : at + len(value)].tolist() == value for i, (at, value) in enumerate(spans))


def save(model: "LlamaForCausalLM", tokenizer: "TokenizersBackend", log: list[dict[str, float]], folder: Path) -> None:
    """Write weights (stored in bf16, loaded as fp32), tokenizer and log."""
    import torch

    folder.mkdir(parents=True, exist_ok=True)
    for tensor in model.parameters():
        tensor.data = tensor.data.to(torch.bfloat16)
    model.save_pretrained(folder)
    # Stored in half the bytes, but computing in bf16 is slow on a CPU: the config asks loaders for fp32.
    model.config.dtype = torch.float32
    model.config.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    (folder / "model.safetensors").chmod(0o644)
    with (folder / "training_log.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(log[0]))
        writer.writeheader()
        writer.writerows(log)


CARD: Final = """# {name}

A Llama with grouped-query attention ({parameters:,} parameters, {layers} layers of width {width}, {heads} heads,
{kv_heads} key/value heads), pretrained on the text of the mini world and on nothing else. It exists so that
fine-tuning methods can be compared on a CPU, offline, in minutes; it knows no real facts. Made by this repository,
under its licence.

| | |
|---|---|
| command | `{command}` |
| corpus | world seed {seed}, corpus seed {seed}, {documents:,} documents |
| corpus sha256 | `{sha}` |
| tokenizer | byte-level BPE, {vocabulary:,} entries, trained on the corpus |
| tokens in the corpus | {corpus_tokens:,} |
| tokens seen | {tokens:,} (one pass: {steps:,} steps of at most {batch} tokens with padding, one document a row) |
| loss | {first_loss:.3f} (first {log_every} steps) to {last_loss:.3f} (last {log_every}) |
| facts completed, fine-tuning entities | {known:.1%} |
| facts completed, test entities | {known_test:.1%} |
| wall time of the training | {minutes:.1f} min, threads: {threads} |
| weights | stored in bf16, loaded as fp32 |

A fact counts as completed when the greedy continuation of one plain statement ("The color of the ... is") is its value;
measured on the stored weights.

Recipe: {recipe}
"""


def write_card(folder: Path, **facts: Any) -> None:
    """Render CARD.md."""
    (folder / "CARD.md").write_text(CARD.format(name=folder.name, **facts))


def build_mini_llama(folder: Path, recipe: Recipe, threads: int) -> None:
    """Corpus, tokenizer, training, files and card of `mini_llama`."""
    from transformers import AutoModelForCausalLM
    from transformers.utils import logging

    logging.disable_progress_bar()
    world = build_world(recipe.seed)
    written = list(corpus.documents(world, recipe.seed, recipe.documents))
    tokenizer = train_tokenizer([document.text for document in written], recipe)
    documents = encode(written, tokenizer)
    model = build_model(recipe)
    started = time.perf_counter()
    log = pretrain(model, documents, recipe, threads)
    minutes = (time.perf_counter() - started) / 60
    save(model, tokenizer, log, folder)
    stored: LlamaForCausalLM = AutoModelForCausalLM.from_pretrained(folder).eval()
    write_card(
        folder,
        **asdict(recipe),
        **knowledge(stored, tokenizer, world),
        parameters=stored.num_parameters(),
        command=command_line(),
        sha=corpus.content_hash(written),
        corpus_tokens=sum(len(ids) for ids, _ in documents),
        tokens=int(log[-1]["tokens"]),
        steps=int(log[-1]["step"]),
        first_loss=log[0]["loss"],
        last_loss=log[-1]["loss"],
        log_every=LOG_EVERY,
        minutes=minutes,
        threads=threads,
        recipe=asdict(recipe),
    )


def knowledge(model: "LlamaForCausalLM", tokenizer: "TokenizersBackend", world: World) -> dict[str, float]:
    """Fact completion on the entities of the fine-tuning rows (`known`) and of the test rows (`known_test`)."""
    return {
        "known": knows(model, tokenizer, world.facts(held_out=False)),
        "known_test": knows(model, tokenizer, world.facts(held_out=True)),
    }


def command_line() -> str:
    """How this build was started."""
    return shlex.join(["python", *sys.argv]) if sys.argv[0].endswith(".py") else "make mini-backbones"


def _mini_llama(folder: Path, options: argparse.Namespace) -> None:
    build_mini_llama(folder, replace(Recipe(), documents=options.documents), options.threads)


def _mini_vit(folder: Path, options: argparse.Namespace) -> None:
    from wegeft.pretraining import mini_vit

    recipe = mini_vit.Recipe() if options.pictures is None else mini_vit.Recipe(pictures=options.pictures)
    mini_vit.build(folder, recipe, options.threads, command_line())


# A further backbone is a further entry: name -> builder, which gets its folder and the command line.
BUILDERS: Final[dict[str, Callable[[Path, argparse.Namespace], None]]] = {
    "mini_llama": _mini_llama,
    "mini_vit": _mini_vit,
}


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description="Pretrain the mini backbones that ship with the repository.")
    parser.add_argument("--only", choices=tuple(BUILDERS), action="append", help="build only this one (default: all)")
    parser.add_argument(
        "--out", type=Path, default=OUT, help="folder that gets one folder per backbone (default: %(default)s)"
    )
    # Not the number of CPUs: the split of a batch decides the order of sums, and so the last bits of the weights.
    parser.add_argument("--threads", type=int, default=2, help="replicas that share a batch (default: %(default)s)")
    parser.add_argument(
        "--documents", type=int, default=Recipe.documents, help="documents of the corpus (default: %(default)s)"
    )
    parser.add_argument("--pictures", type=int, help="pictures of the ViT's pretraining (default: as in its recipe)")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> None:
    """Build every chosen backbone."""
    options = parse(arguments)
    for name in options.only or BUILDERS:
        BUILDERS[name](options.out / name, options)


if __name__ == "__main__":
    main()
