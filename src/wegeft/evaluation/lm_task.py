"""A test set as a task of lm-eval: the documents, what is asked, how answers are extracted and compared.

The YAML files in ``lm_tasks/`` say the same for lm-eval's own command line.

Does not: run a model.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from datasets import Dataset
from lm_eval.api.task import ConfigurableTask

from wegeft.evaluation.compare import Comparison, is_correct
from wegeft.evaluation.decoding import DecodingConfig
from wegeft.evaluation.extractors import Extractor
from wegeft.evaluation.lm import DECODING
from wegeft.evaluation.metrics import pass_at_k
from wegeft.tasks.base import Example

METRIC = "accuracy"
TEST_SPLIT = "test"

Rule = tuple[Extractor, Comparison]
"""How an answer is read, and how what was read is compared with the gold answer."""


class TextSetTask(ConfigurableTask):  # type: ignore[misc]  # lm-eval has no annotations
    """lm-eval's task of YAML fields, without a progress bar of its own for building the requests."""

    def build_all_requests(self, *, limit: int | None = None, **_options: Any) -> None:
        """One request per document, answered ``repeats`` times: the prompt as it is, no examples before it."""
        name, repeats = self.config["task"], self.config["repeats"]
        documents = self.doc_iterator(rank=0, limit=limit, world_size=1)
        self._instances = [
            self.construct_requests(doc=doc, ctx=self.doc_to_text(doc), metadata=(name, number, repeats))
            for number, doc in documents
        ]


def lm_task(
    name: str,
    examples: Sequence[Example],
    rules: Mapping[str, Rule],
    max_new_tokens: int,
    decoding: DecodingConfig,
) -> TextSetTask:
    """The task ``name`` over ``examples``, answered ``decoding.samples`` times and scored once per rule."""
    metrics = [METRIC, *(f"pass@{k}" for k in decoding.pass_at)]
    return TextSetTask(
        config={
            "task": name,
            "custom_dataset": lambda: {TEST_SPLIT: documents(examples)},
            "test_split": TEST_SPLIT,
            "num_fewshot": 0,
            "output_type": "generate_until",
            "doc_to_text": "prompt",
            "doc_to_target": "gold",
            "generation_kwargs": {"until": [], "max_gen_toks": max_new_tokens, DECODING: decoding.model_dump()},
            "repeats": decoding.samples,
            "filter_list": [_filter(rule_name, _reading(rule)) for rule_name, rule in rules.items()],
            "process_results": _averaging(decoding),
            "metric_list": [{"metric": m, "aggregation": "mean", "higher_is_better": True} for m in metrics],
        }
    )


@dataclass(frozen=True)
class Reading:
    """What one rule made of the answers to one question.

    Attributes:
        extracted: by answer; None where there was nothing to read.
        right: by answer, whether it is right.
    """

    extracted: tuple[str | None, ...]
    right: tuple[bool, ...]


def _reading(rule: Rule) -> Callable[[Sequence[Sequence[str]], Sequence[Any]], list[Reading]]:
    """``rule`` as a filter function of lm-eval that keeps every answer and judges it."""
    extractor, comparison = rule

    def apply(answers: Sequence[Sequence[str]], asked: Sequence[Any]) -> list[Reading]:
        readings = []
        for texts, document in zip(answers, asked, strict=True):
            extracted = tuple(extractor.extract(text) for text in texts)
            right = tuple(is_correct(comparison, answer, document["gold"]) for answer in extracted)
            readings.append(Reading(extracted, right))
        return readings

    return apply


def _averaging(decoding: DecodingConfig) -> Callable[[Any, Sequence[Reading]], dict[str, float]]:
    """lm-eval's ``process_results``: the share of right answers to a question, and pass@k where it is asked for."""

    def average(_document: Any, readings: Sequence[Reading]) -> dict[str, float]:
        right = readings[0].right
        passed = {f"pass@{k}": pass_at_k(len(right), sum(right), k) for k in decoding.pass_at}
        return {METRIC: fmean(right)} | passed

    return average


def documents(examples: Sequence[Example]) -> Dataset:
    """Examples as lm-eval's documents, with the fields ``uid``, ``subset``, ``prompt``, ``gold`` and ``listed``."""
    fields = ("uid", "subset", "prompt", "gold", "listed")
    return Dataset.from_dict({field: [getattr(example, field) for example in examples] for field in fields})


def extraction(extractor: Extractor) -> Callable[[Sequence[Sequence[str]], Sequence[Any]], list[str | None]]:
    """``extractor`` as a filter function of lm-eval: the first answer to each document, extracted."""

    def apply(answers: Sequence[Sequence[str]], _documents: Sequence[Any]) -> list[str | None]:
        return [extractor.extract(repeats[0]) for repeats in answers]

    return apply


def grader(comparison: Comparison) -> Callable[[Mapping[str, str], Sequence[str | None]], dict[str, float]]:
    """``comparison`` as lm-eval's ``process_results``: 1 or 0 for one document."""

    def grade(document: Mapping[str, str], extracted: Sequence[str | None]) -> dict[str, float]:
        return {METRIC: float(is_correct(comparison, extracted[0], document["gold"]))}

    return grade


def _filter(name: str, function: Callable[..., list[Any]]) -> dict[str, Any]:
    return {"name": name, "filter": [{"function": "custom", "filter_fn": function}]}
