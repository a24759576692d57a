"""A task that is text in and text out, described by YAML alone: source, templates, length, extraction, comparison.

Does not: read files (its source does), tokenise (``wegeft.tasks.encoding``) or generate.
"""

import string
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field, field_validator, model_validator

from wegeft.errors import UserError
from wegeft.evaluation.compare import Comparison
from wegeft.evaluation.decoding import DecodingConfig
from wegeft.evaluation.extractors import Extractor
from wegeft.evaluation.judging.config import JudgeConfig
from wegeft.schema import Strict, load_target
from wegeft.tasks.base import DataSummary, Example, Names, Task, TaskConfig
from wegeft.tasks.protocol import BaseProtocol, ProtocolConfig
from wegeft.tasks.sources import ROW_FIELDS, Row, Source, Split

if TYPE_CHECKING:
    from wegeft.evaluation.judging.judged import Judged
    from wegeft.evaluation.samples import Sample
    from wegeft.models import Backbone
    from wegeft.tasks.encoding import TextEncoder
    from wegeft.tasks.text_prepared import PreparedText

DEFAULT = "default"
LISTED = "listed"
"""The way of decoding that ``listed_answers`` adds."""


class ScoringConfig(Strict):
    """How generated text becomes right or wrong.

    Attributes:
        compare: rule that compares the extracted answer with the gold one.
        compare_of: another such rule for the answers of single extraction rules, by their names.
        extractors: extraction rules by name; the first gives the reported score, the others stand beside it.
    """

    compare: Comparison
    compare_of: dict[str, Comparison] = Field(default_factory=dict)
    extractors: dict[str, dict[str, Any]] = Field(min_length=1)

    @model_validator(mode="after")
    def _known(self) -> "ScoringConfig":
        for name, node in self.extractors.items():
            load_target(node, f"task.scoring.extractors.{name}")
        return self


class AcceptConfig(Strict):
    """Training rows that are used: the first ``rows`` that are short enough, in the order of the file.

    Attributes:
        below_tokens: prompt and target have fewer tokens than this, BOS included, EOS not; None sets no limit.
        rows: rows used; None is all that are short enough.
    """

    below_tokens: int | None = Field(ge=1)
    rows: int | None = Field(ge=1)


class TextTaskConfig(TaskConfig):
    """One text task.

    Attributes:
        sources: data source by scale name; ``source`` is usually an interpolation into it.
        source: open group of the data source in use.
        by_scale: values by scale name that other keys draw on through interpolation; nothing reads them directly.
        by_protocol: the same by the protocol's name.
        train_subsets: subsets trained on, in order.
        test_subsets: subsets tested on, in the order of the published table.
        leaked_subsets: sets whose items are known to stand in the training set; scored if tested, but not in the mean.
        side_subsets: sets that are scored and not in the mean for another reason, e.g. as parts of others.
        accept: which training rows are used, where their length decides; None is all.
        prompt: template over the row's fields.
        prompt_with_input: template for rows whose ``input`` is not empty; None refuses such rows.
        test_prompts: templates of test questions that are asked otherwise, by subset.
        target: template over the row's fields, without EOS.
        max_new_tokens: most tokens generated per answer.
        decodings: ways of decoding by name, each applied to every test question; the first gives the reported score.
        listed_answers: every question is asked once more where nothing can be written but one of the answers that it
            lists. Chance is then what a model scores that knows nothing, were it never trained to answer in that form.
        scoring: by subset; the entry ``default`` serves the subsets without one.
    """

    sources: dict[str, dict[str, Any]]
    source: dict[str, Any]
    by_scale: dict[str, dict[str, Any]] = Field(default_factory=dict)
    by_protocol: dict[str, dict[str, Any]] = Field(default_factory=dict)
    train_subsets: Names = Field(min_length=1)
    test_subsets: Names = Field(min_length=1)
    leaked_subsets: tuple[str, ...]
    side_subsets: tuple[str, ...] = ()
    accept: AcceptConfig | None = None
    prompt: str
    prompt_with_input: str | None
    test_prompts: dict[str, str] = Field(default_factory=dict)
    target: str
    max_new_tokens: int = Field(ge=1)
    decodings: dict[str, DecodingConfig] = Field(default={"greedy": DecodingConfig()}, min_length=1)
    listed_answers: bool = False
    scoring: dict[str, ScoringConfig]

    @field_validator("test_prompts")
    @classmethod
    def _known_fields_of_all(cls, templates: dict[str, str]) -> dict[str, str]:
        for template in templates.values():
            cls._known_fields(template)
            cls._asks(template)
        return templates

    @field_validator("prompt", "prompt_with_input", "target")
    @classmethod
    def _known_fields(cls, template: str | None) -> str | None:
        unknown = sorted(_fields_of(template or "").difference(ROW_FIELDS))
        if unknown:
            raise ValueError(f"the template uses {unknown}; a row has {', '.join(ROW_FIELDS)}")
        try:
            (template or "").format_map(dict.fromkeys(ROW_FIELDS, ""))
        except (LookupError, ValueError) as error:  # {instruction:d}, {instruction!z}
            raise ValueError(f"the template cannot be filled in ({error})") from error
        return template

    @field_validator("prompt", "prompt_with_input")
    @classmethod
    def _asks(cls, template: str | None) -> str | None:
        if template is not None and "instruction" not in _fields_of(template):
            raise ValueError("the template must use {instruction}, or every row would ask the same")
        return template

    @field_validator("target")
    @classmethod
    def _answers(cls, template: str) -> str:
        if _fields_of(template).isdisjoint(("output", "answer")):
            raise ValueError("the template must use {output} or {answer}, or every row would teach the same")
        return template

    @model_validator(mode="after")
    def _whole(self) -> "TextTaskConfig":
        load_target(self.source, "task.source")
        for subset in self.test_subsets:
            if subset not in self.scoring and DEFAULT not in self.scoring:
                raise ValueError(f"task.scoring has no entry for {subset} and no `{DEFAULT}`")
        if self.listed_answers and LISTED in self.decodings:
            raise ValueError(f"task.decodings.{LISTED} is what task.listed_answers=true adds; call it otherwise")
        kept = next((name for name, way in self.decodings.items() if way.listed), None)
        if kept is not None:  # without it no question carries its list, and the answers would be free
            raise ValueError(f"task.decodings.{kept}.listed is set by task.listed_answers=true alone")
        return self


def _fields_of(template: str) -> set[str]:
    """The fields of a row that ``template`` uses."""
    return {name for _, name, _, _ in string.Formatter().parse(template) if name is not None}


class TextTask(Task):
    """Examples rendered from rows by the templates of the config."""

    Config: ClassVar[type[TextTaskConfig]] = TextTaskConfig
    Protocol: ClassVar[type[BaseProtocol]] = ProtocolConfig
    families: ClassVar[frozenset[str]] = frozenset({"causal_lm"})

    def __init__(self, config: TextTaskConfig) -> None:
        super().__init__(config)
        self.config = config
        source_class, source_config = load_target(config.source, "task.source")
        self.source: Source = source_class(source_config)
        self.max_new_tokens = config.max_new_tokens

    def train_examples(self) -> list[Example]:
        """Training examples in file order, subsets one after the other; shuffling is the loop's.

        Raises:
            UserError: missing, broken or incomplete data, with file and row.
        """
        return [example for subset in self.config.train_subsets for example in self._examples(subset, "train")]

    def test_examples(self) -> dict[str, list[Example]]:
        """Test examples by subset, subsets in the order of the published table; raises as `train_examples`."""
        return {subset: self._examples(subset, "test") for subset in self.config.test_subsets}

    def check_data(self) -> None:
        """See :meth:`Task.check_data`."""
        for subset, split in self._parts():
            self.source.check(subset, split)

    def expected_train_examples(self) -> int | None:
        """See :meth:`Task.expected_train_examples`."""
        counts = [self.source.expected_drawn(subset, "train") for subset in self.config.train_subsets]
        if None in counts:
            return None
        total = sum(count for count in counts if count is not None)
        accept = self.config.accept
        return total if accept is None or accept.rows is None else min(total, accept.rows)

    def expected_test_examples(self) -> dict[str, int] | None:
        """See :meth:`Task.expected_test_examples`."""
        counts = {subset: self.source.expected_drawn(subset, "test") for subset in self.config.test_subsets}
        known = {subset: count for subset, count in counts.items() if count is not None}
        return known if len(known) == len(counts) else None

    def scored_uids(self, protocol: BaseProtocol) -> frozenset[str]:
        """See :meth:`Task.scored_uids`."""
        del protocol
        return frozenset(example.uid for examples in self.test_examples().values() for example in examples)

    def prepare(self, backbone: "Backbone", protocol: ProtocolConfig) -> "PreparedText":
        """See :meth:`Task.prepare`."""
        from wegeft.tasks.text_prepared import PreparedText

        return PreparedText(self, self._encoder(backbone, protocol), backbone.model)

    def _encoder(self, backbone: "Backbone", protocol: ProtocolConfig) -> "TextEncoder":
        from wegeft.tasks.encoding import TextEncoder

        if backbone.processor is None:
            raise UserError(f"model={backbone.config.name} has no tokenizer, so task={self.name} cannot be read by it.")
        return TextEncoder(backbone.processor, protocol)

    @cached_property
    def ways(self) -> Mapping[str, DecodingConfig]:
        """All ways of decoding by name, each applied to every test question; the first gives the reported score."""
        more = {LISTED: DecodingConfig(listed=True)} if self.config.listed_answers else {}
        return {**self.config.decodings, **more}

    def decodings(self) -> list[DecodingConfig]:
        """See :meth:`Task.decodings`."""
        return list(self.ways.values())

    def answers_per_question(self) -> int:
        """See :meth:`Task.answers_per_question`."""
        return sum(way.samples for way in self.ways.values())

    def data_summary(self) -> dict[str, DataSummary]:
        """See :meth:`Task.data_summary`."""
        return dict(self._summary)

    def chance(self) -> dict[str, float] | None:
        """See :meth:`Task.chance`; test subsets for which it is not known are left away."""
        found = {subset: self.source.chance(subset) for subset in self.config.test_subsets}
        return {subset: value for subset, value in found.items() if value is not None} or None

    @property
    def judged_later(self) -> bool:
        """Whether answers are only kept, to be scored by ``mode=judge``."""
        return False

    def keep_for_judge(self, samples: Sequence["Sample"], folder: Path, generator: str) -> None:
        """Write what a judge elsewhere needs besides the samples; nothing for most tasks."""
        del samples, folder, generator

    def judge(self, samples: Sequence["Sample"], folder: Path, config: JudgeConfig) -> "Judged":
        """Score kept answers that could not be scored when they were written.

        Raises:
            UserError: this task scores its answers at once, or there is nobody to judge them.
        """
        del samples, folder, config
        raise UserError(f"the answers of task={self.name} need no judge; mode=rescore reads them again.")

    def rules(self, subset: str) -> dict[str, tuple[Extractor, Comparison]]:
        """How answers of ``subset`` are read and compared, by name; the first gives the reported score."""
        scoring = self._scoring(subset)
        found = {}
        for name, node in scoring.extractors.items():
            target, config = load_target(node)
            found[name] = (target(config), scoring.compare_of.get(name, scoring.compare))
        return found

    def counted(self, scores: Iterable[str]) -> list[str]:
        """The names among ``scores`` that enter the mean: test sets as reported, not leaked and not beside others.

        All test sets, if there is no other.
        """
        names = [name for name in scores if name in self.config.test_subsets]
        outside = {*self.config.leaked_subsets, *self.config.side_subsets}
        return [name for name in names if name not in outside] or names

    def extractors(self, subset: str) -> dict[str, Extractor]:
        """Extraction rules of ``subset`` by name, in the order of :meth:`rules`."""
        return {name: extractor for name, (extractor, _) in self.rules(subset).items()}

    def _scoring(self, subset: str) -> ScoringConfig:
        return self.config.scoring.get(subset) or self.config.scoring[DEFAULT]

    def _examples(self, subset: str, split: Split) -> list[Example]:
        numbers, rows = self.source.row_numbers(subset, split), self.source.rows(subset, split)
        return [self._render(subset, split, number, row) for number, row in zip(numbers, rows, strict=True)]

    def _render(self, subset: str, split: Split, number: int, row: Row) -> Example:
        uid = f"{subset}/{self.source.file_split(split)}/{number}"
        template = self.config.prompt if split == "train" else self.config.test_prompts.get(subset, self.config.prompt)
        if row["input"]:
            if self.config.prompt_with_input is None:
                raise UserError(f"row {uid} has an `input`, and task={self.name} has no template for one.")
            template = self.config.prompt_with_input
        return Example(
            uid=uid,
            subset=subset,
            prompt=template.format_map(row),
            target=self.config.target.format_map(row),
            gold=row["answer"],
            listed=self._listed(subset, uid, row) if split == "test" and self.config.listed_answers else (),
        )

    def _listed(self, subset: str, uid: str, row: Row) -> tuple[str, ...]:
        """What gives each of the listed answers, the right one among them, in the words that the rule looks for."""
        listed = self.source.listed(row)
        if row["answer"] not in listed:
            found = ", ".join(listed) if listed else "none"
            raise UserError(
                f"row {uid}: its answer {row['answer']!r} is not one of those that its question lists ({found}); "
                "set task.listed_answers=false."
            )
        first = next(iter(self.extractors(subset).values()))
        return tuple(first.announce(answer) for answer in listed)

    @cached_property
    def _summary(self) -> Mapping[str, DataSummary]:
        return {f"{subset}/{split}": self._summarise(subset, split) for subset, split in self._parts()}

    def _parts(self) -> list[tuple[str, Split]]:
        """All subset and split pairs that the task uses."""
        train: list[tuple[str, Split]] = [(subset, "train") for subset in self.config.train_subsets]
        return train + [(subset, "test") for subset in self.config.test_subsets]

    def _summarise(self, subset: str, split: Split) -> DataSummary:
        return DataSummary(
            rows=len(self.source.rows(subset, split)),
            expected=self.source.expected(subset, split),
            sha256=self.source.content_hash(subset, split),
        )
