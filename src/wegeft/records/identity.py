"""The identity of a run: a hash of its resolved config minus what cannot change a result.

Two runs with one id would produce the same numbers, so the second need not be run. Does not: look at data
files (their content hashes stand in the record), read the record, or know which keys a config has.
"""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

RUN_ID_LENGTH = 12

SIDE_KEYS: Mapping[str, str] = {
    "mode": "a plan, a run and a re-evaluation of one configuration concern the same result",
    "run": "names a run to look at",
    "judge": "who judges kept answers; the judgements and the record name the judge and the date",
    "samples": "which answers of a run to look at",
    "plan": "the machine that a plan is for",
    "table": "the table whose runs are planned",
    "clusters": "which images of a run to look at",
    "tune": "how hyper-parameters are searched; the run's own stand in their places",
    "force": "says whether to repeat a run, not what the run is",
    "output_dir": "where checkpoints and samples are kept",
    "records_dir": "where the record is kept",
    "logger": "where the curves are shown",
    "data.root": "where the files lie; the record holds the hash of what they say, which is compared",
    "task.source.root": "as data.root, which it is taken from",
    "evaluation.vllm_python": "where vLLM is installed",
    "runtime": "device, threads and workers: hardware, which the record names under provenance",
    "training.micro_batch_size": "how the global batch is cut up; the loss is normalised over all of it",
    "training.checkpoint_every": "how much a kill costs; a run that goes on ends with the same bytes",
    "training.prefix_cache_gb": "keeps what a frozen part of the network would compute again",
    "training.gradient_checkpointing": "recomputes the same activations instead of storing them",
}
"""Dotted key -> why it has no say in a result. A key that names a group stands for the whole group."""

CHOICE_KEYS: Mapping[str, str] = {
    "tuned": "where hyper-parameters were found; their values stand in their places",
    "task.sources": "the sources of all scales; the run's own stands in task.source",
    "task.by_scale": "what each scale sets; the run's own values stand beside it",
    "task.by_protocol": "as task.by_scale, for each protocol",
    "task.by_model": "what the recipe sets for each backbone; the run's own values stand in training and protocol",
    "task.learning_rates": "as method.learning_rates, for the methods",
    "method.ranks": "the ranks of all scales; the run's own stands in method.r",
    "method.alphas": "the alphas of all scales; the run's own stands in method.alpha",
    "method.options_of_type": "the options of all types; the run's own stand in method.options",
    "protocol.truncations": "what each scale does; the run's own stands in protocol.truncation",
    "method.recipes": "what each recipe sets; the run's own values stand beside it",
    "method.recipe_of_family": "the recipe of every kind of backbone; the run's own stands in method.recipe",
    "method.by_family": "what each kind of backbone sets; the run's own values stand beside it",
    "method.vision_learning_rates": "as method.learning_rates",
    "method.learning_rates": "the rates of all scales; the run's own stands in training.learning_rate",
}
"""Dotted key -> where the value stands that it chooses, which is part of the identity: setting the key changes that."""

IGNORED_KEYS: Mapping[str, str] = {**SIDE_KEYS, **CHOICE_KEYS}
"""All that the identity leaves out, and why."""

LATER_KEYS: Mapping[str, Any] = {
    "evaluation.engine": "hf",
    "task.listed_answers": False,
    "training.fp32_masters": True,  # all before trained fp32 parameters, which have no other masters
}
"""Keys that are younger than some records; at this value, which means what was done before, they are left out."""


def run_id(config: Mapping[str, Any]) -> str:
    """Twelve hex digits of the SHA-256 of the canonical JSON of :func:`recipe_config`.

    Key order and the spelling of a number (``1`` or ``1.0``, a tuple or a list) make no difference.

    Args:
        config: the resolved config as plain mappings, sequences, strings, numbers, booleans and None.

    Raises:
        TypeError: a value that JSON cannot hold. ValueError: a number that is not finite.
    """
    return digest(recipe_config(config))


def digest(value: Any) -> str:
    """Twelve hex digits of the SHA-256 of the canonical JSON of ``value``."""
    text = json.dumps(_canonical(value), sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:RUN_ID_LENGTH]


def recipe_config(config: Mapping[str, Any], also_without: tuple[str, ...] = ()) -> dict[str, Any]:
    """A copy of ``config`` without what changes nothing and without the dotted keys ``also_without``."""
    return _without(config, "", frozenset(IGNORED_KEYS).union(also_without))


def _without(node: Mapping[str, Any], prefix: str, dropped: frozenset[str]) -> dict[str, Any]:
    kept: dict[str, Any] = {}
    for key, value in node.items():
        path = f"{prefix}{key}"
        if path not in dropped and not (path in LATER_KEYS and value == LATER_KEYS[path]):
            kept[key] = _without(value, f"{path}.", dropped) if isinstance(value, dict | Mapping) else value
    return kept


def _canonical(value: Any) -> Any:
    """``value`` with string keys, lists for tuples, and integers for floats that are whole."""
    if isinstance(value, str):  # most values; asking the abstract Mapping first would take half of the time
        return value
    if isinstance(value, dict | Mapping):
        return {str(key): _canonical(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_canonical(item) for item in value]
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value
