"""What the YAML files in ``lm_tasks/`` refer to, so that lm-eval's own command line can run our test sets on any model.

    lm_eval --model hf --model_args pretrained=FOLDER,add_bos_token=True --tasks wegeft_commonsense
        --include_path src/wegeft/evaluation/lm_tasks --metadata '{"data_root": "data"}'

``data_root`` may also stand in the environment as ``WEGEFT_DATA_ROOT``; ``"scale": "mini"`` asks the mini world
instead. Prompts, extraction and comparison are those of ``configs/task``, so the numbers equal ``run.py``'s.

Does not: run anything.
"""

import os
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

from datasets import Dataset
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from wegeft.cli import CONFIG_FOLDER
from wegeft.evaluation.lm_task import TEST_SPLIT, documents, extraction, grader
from wegeft.tasks import build_task
from wegeft.tasks.text import DEFAULT, TextTask

DATA_ROOT_VARIABLE = "WEGEFT_DATA_ROOT"


def questions(
    task: str, subset: str, scale: str = "paper", data_root: str | None = None, **_metadata: Any
) -> dict[str, Dataset]:
    """The questions of one test set, as lm-eval's ``custom_dataset``.

    Args:
        task: name of a task in ``configs/task``.
        subset: one of its test sets.
        scale: whose data source to read.
        data_root: folder of the data files; without it, the environment variable ``WEGEFT_DATA_ROOT``.

    Raises:
        UserError: no data, or broken data.
    """
    root = data_root or os.environ.get(DATA_ROOT_VARIABLE)
    found = _task(task, scale, root, (subset,))
    return {TEST_SPLIT: documents(found.test_examples()[subset])}


def _rule(task: str, subset: str, name: str) -> Callable[[Sequence[Sequence[str]], Sequence[Any]], list[str | None]]:
    """An extraction rule of ``configs/task``, as lm-eval's ``filter_fn``."""

    def apply(answers: Sequence[Sequence[str]], asked: Sequence[Any]) -> list[str | None]:
        return extraction(_task(task, "paper", None, None).extractors(subset)[name])(answers, asked)

    return apply


answer_after_trigger = _rule("commonsense", DEFAULT, "official")
last_number = _rule("math10k", DEFAULT, "official")
first_letter = _rule("math10k", "AQuA", "official")
choice_letter = _rule("math10k", "AQuA", "strict")
last_hash_number = _rule("metamath", DEFAULT, "clean")
math_answer = _rule("metamath", "math", "clean")
grade_exact = grader("exact")
grade_number = grader("number")
grade_math = grader("math")


@cache
def _task(name: str, scale: str, data_root: str | None, subsets: tuple[str, ...] | None) -> TextTask:
    """The task of ``run.py task=name scale=scale protocol=clean``, with these test sets alone."""
    with initialize_config_dir(str(CONFIG_FOLDER), version_base="1.3"):
        composed = compose("config", overrides=[f"task={name}", f"scale={scale}", "protocol=clean"])
    OmegaConf.update(composed, "data.root", data_root)
    if subsets is not None:
        OmegaConf.update(composed, "task.test_subsets", list(subsets))
    node = OmegaConf.to_container(composed.task, resolve=True)
    assert isinstance(node, dict)
    task = build_task({str(key): value for key, value in node.items()})
    assert isinstance(task, TextTask)
    return task
