"""A test set as a task of lm-eval: the documents, what is asked, how answers are extracted and compared.

The YAML files in ``lm_tasks/`` say the same for lm-eval's own command line.

Does not: run a model.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from datasets import Dataset
from lm_eval.api.task import ConfigurableTask

from wegeft.evaluation.compare import Comparison, is_correct
from wegeft.evaluation.extractors import Extractor
from wegeft.tasks.base import Example

METRIC = "accuracy"
TEST_SPLIT = "test"


class TextSetTask(ConfigurableTask):  # type: ignore[misc]  # lm-eval has no annotations
    """lm-eval's task of YAML fields, without a progress bar of its own for building the requests."""

    def build_all_requests(self, *, limit: int | None = None, **_options: Any) -> None:
        """One request per document: the prompt as it is, no examples before it."""
        name = self.config["task"]
        documents = self.doc_iterator(rank=0, limit=limit, world_size=1)
        self._instances = [
            self.construct_requests(doc=doc, ctx=self.doc_to_text(doc), metadata=(name, number, 1))
            for number, doc in documents
        ]


def lm_task(
    name: str,
    examples: Sequence[Example],
    extractors: Mapping[str, Extractor],
    comparison: Comparison,
    max_new_tokens: int,
) -> TextSetTask:
    """The task ``name`` over ``examples``, scored once per extraction rule."""
    return TextSetTask(
        config={
            "task": name,
            "custom_dataset": lambda: {TEST_SPLIT: documents(examples)},
            "test_split": TEST_SPLIT,
            "num_fewshot": 0,
            "output_type": "generate_until",
            "doc_to_text": "prompt",
            "doc_to_target": "gold",
            "generation_kwargs": {"until": [], "do_sample": False, "max_gen_toks": max_new_tokens},
            "filter_list": [_filter(rule, extractor) for rule, extractor in extractors.items()],
            "process_results": grader(comparison),
            "metric_list": [{"metric": METRIC, "aggregation": "mean", "higher_is_better": True}],
        }
    )


def documents(examples: Sequence[Example]) -> Dataset:
    """Examples as lm-eval's documents, with the fields ``uid``, ``subset``, ``prompt`` and ``gold``."""
    fields = ("uid", "subset", "prompt", "gold")
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


def _filter(name: str, extractor: Extractor) -> dict[str, Any]:
    return {"name": name, "filter": [{"function": "custom", "filter_fn": extraction(extractor)}]}
