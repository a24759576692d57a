"""The identity of a run: equal where the result must be equal, different where it may differ."""

import copy
import itertools
from typing import Any

import pytest

from tests.records.factory import make_config
from wegeft.records import IGNORED_KEYS, run_id
from wegeft.records.identity import LATER_KEYS


def _set(config: dict[str, Any], dotted: str, value: Any) -> dict[str, Any]:
    changed = copy.deepcopy(config)
    *parents, last = dotted.split(".")
    node = changed
    for parent in parents:
        node = node[parent]
    node[last] = value
    return changed


def _leaves(node: Any, prefix: str = "") -> list[str]:
    if not isinstance(node, dict):
        return [prefix[:-1]]
    return list(itertools.chain.from_iterable(_leaves(value, f"{prefix}{key}.") for key, value in node.items()))


def _is_ignored(dotted: str) -> bool:
    return any(dotted == key or dotted.startswith(f"{key}.") for key in IGNORED_KEYS)


@pytest.mark.parametrize("dotted", [leaf for leaf in _leaves(make_config()) if _is_ignored(leaf)])
def test_what_cannot_change_a_result_leaves_the_id_alone(dotted: str) -> None:
    config = make_config()
    assert run_id(_set(config, dotted, "elsewhere")) == run_id(config)


@pytest.mark.parametrize("dotted", [leaf for leaf in _leaves(make_config()) if not _is_ignored(leaf)])
def test_everything_else_changes_the_id(dotted: str) -> None:
    config = make_config()
    assert run_id(_set(config, dotted, "other")) != run_id(config)


def test_an_ignored_key_may_be_absent() -> None:
    config = make_config()
    without = {key: value for key, value in config.items() if key not in {"logger", "runtime", "output_dir"}}
    assert run_id(without) == run_id(config)


def test_only_the_exact_key_is_ignored() -> None:
    config = make_config()
    # `evaluation.mode` shares its last part with the ignored `mode`, `loggers` its first letters with
    # `logger`.
    assert run_id({**config, "evaluation": {"batch_size": 16, "mode": "x"}}) != run_id(config)
    assert run_id({**config, "loggers": "x"}) != run_id(config)


def test_spelling_makes_no_difference() -> None:
    one = {"b": [1, 2], "a": {"x": 1.0, "y": 2e-4}}
    other = {"a": {"y": 0.0002, "x": 1}, "b": (1, 2)}
    assert run_id(one) == run_id(other)


def test_true_is_not_one() -> None:
    assert run_id({"a": True}) != run_id({"a": 1})
    assert run_id({"a": None}) != run_id({})


def test_the_config_is_left_alone_and_the_form_is_fixed() -> None:
    config = make_config()
    before = copy.deepcopy(config)
    identity = run_id(config)
    assert config == before
    assert len(identity) == 12
    assert set(identity) <= set("0123456789abcdef")


def test_a_known_config_keeps_its_id() -> None:
    # A change of the hash would make every existing record look like a different run.
    assert run_id({"seed": 42, "method": {"name": "lora", "r": 8}, "output_dir": "x"}) == "a9b15b10b33b"


def test_a_number_that_is_not_finite_has_no_id() -> None:
    with pytest.raises(ValueError, match="Out of range"):
        run_id({"a": float("nan")})


def test_every_ignored_key_says_why() -> None:
    assert all(len(reason) > 10 for reason in IGNORED_KEYS.values())


def test_a_younger_key_at_the_value_of_before_leaves_ids_alone() -> None:
    config = make_config()
    for dotted, before in LATER_KEYS.items():
        group, key = dotted.split(".")
        assert run_id({**config, group: {**config[group], key: before}}) == run_id(config)
        assert run_id({**config, group: {**config[group], key: not before}}) != run_id(config)
