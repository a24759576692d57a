"""What a table is, as data: one YAML file per table in ``definitions/``.

A definition says which records fill which cell and which published rows stand beside them. Does not: read
records or published files, or compute anything.
"""

from collections.abc import Collection
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import Field, model_validator

from wegeft.errors import UserError
from wegeft.records.provenance import PROJECT_ROOT
from wegeft.schema import Strict, did_you_mean, validate

DEFINITIONS = Path(__file__).with_name("definitions")
TASK_CONFIGS = PROJECT_ROOT / "configs" / "task"

Extra = Literal["parameters", "percent", "learning_rate", "steps", "chance", "above_chance", "seeds"]


class Column(Strict):
    """One score column.

    Attributes:
        subset: subset of the task that it shows, or a name for the mean of ``mean_of``.
        header: what the table calls it.
        published: what published files call it; None: nowhere published.
        mean_of: subsets whose unweighted mean it shows; empty: the subset alone.
        counted: whether the table's mean covers it; leaked sets are shown and not counted.
    """

    subset: str
    header: str
    published: str | None = None
    mean_of: tuple[str, ...] = ()
    counted: bool = True

    @property
    def subsets(self) -> tuple[str, ...]:
        """The subsets behind the column."""
        return self.mean_of or (self.subset,)


class Backbone(Strict):
    """A backbone of ours under its heading, with the names that published files give to it."""

    name: str
    header: str
    published: tuple[str, ...] = ()


class Published(Strict):
    """Rows of one published file that stand beside ours.

    Attributes:
        file: file name in the folder of published numbers.
        header: heading of the block; ``{backbone}`` stands for the backbone's header.
        where: column of the file -> values to keep; empty keeps every row of the backbone.
    """

    file: str
    header: str
    where: dict[str, tuple[str, ...]] = Field(default_factory=dict)


class Expected(Strict):
    """A row that a section must have. In YAML a bare method name stands for the method as configured.

    Attributes:
        method: name of the method.
        label: what the row is called; empty: the method's name.
        overrides: what its command needs beyond the section's overrides.
        match: dotted config key -> value that tells the row's runs from other runs of the method.
        published: labels of the published row that it reproduces (``method``, ``variant``, ...); empty: none.
    """

    method: str
    label: str = ""
    overrides: tuple[str, ...] = ()
    match: dict[str, Any] = Field(default_factory=dict)
    published: dict[str, str] = Field(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _from_name(cls, value: Any) -> Any:
        return {"method": value} if isinstance(value, str) else value


class Section(Strict):
    """One rendered table: one scale, one protocol, never mixed with another.

    Attributes:
        name: stem of the files written.
        title: caption.
        scale, protocol: which records belong to it.
        backbones: names of the definition's backbones, one block of rows each.
        rows: rows that must be there; a missing one is shown open, with the command that fills it.
        overrides: what a command needs besides method, task, scale, model, protocol and seed.
        columns: score columns, where this scale has others than the definition's.
        published: published rows beside ours; empty at scales that no paper has used.
        notes: sentences under the table.
    """

    name: str
    title: str
    scale: str
    protocol: str
    backbones: tuple[str, ...]
    rows: tuple[Expected, ...]
    overrides: tuple[str, ...] = ()
    columns: tuple[Column, ...] = ()
    published: tuple[Published, ...] = ()
    notes: tuple[str, ...] = ()


class Definition(Strict):
    """A family of tables that share task, columns and layout.

    Attributes:
        name: stem of the YAML file, and of sections that no one declared.
        title: caption of sections that no one declared.
        task: name of the task whose records belong here.
        joined: every subset is a task of its own (``task=TASK/SUBSET``); a row joins the runs of one method on them.
        held_out: it shows runs that were scored on validation rows, and no others.
        planned: the task is not built yet; only published rows and open cells can be shown.
        metric: what the numbers are, for the header.
        factor: what a recorded score is multiplied by for printing (100: fractions as percentages).
        decimals: digits after the point.
        columns: score columns in order.
        mean, mean_published: header of the mean column; what published files call it.
        mean_ranked: whether means are compared; not where every row has sets of its own.
        extras: further columns, in order; ``seeds`` is always the last.
        backbones: every backbone that a section may name.
        left_out: backbones whose runs another definition shows.
        seeds: seeds that a complete row has; empty: nothing is known to be missing.
        sections: the declared sections, in order.
        derived_sections: whether records of an undeclared scale or protocol get a section of their own.
    """

    name: str
    title: str
    task: str
    joined: bool = False
    held_out: bool = False
    planned: bool = False
    metric: str
    factor: float = 100.0
    decimals: int = Field(default=1, ge=0)
    columns: tuple[Column, ...] = Field(min_length=1)
    mean: str = "mean"
    mean_published: str = "avg"
    mean_ranked: bool = True
    extras: tuple[Extra, ...] = ("parameters", "percent", "learning_rate", "steps", "seeds")
    backbones: tuple[Backbone, ...]
    left_out: tuple[str, ...] = ()
    seeds: tuple[int, ...]
    sections: tuple[Section, ...]
    derived_sections: bool = True

    @property
    def counted(self) -> tuple[str, ...]:
        """The subsets that the mean covers, each once."""
        names = (subset for column in self.columns if column.counted for subset in column.subsets)
        return tuple(dict.fromkeys(names))

    @property
    def choices(self) -> tuple[str, ...]:
        """What ``task=`` is given, one after the other, to make all runs of a row."""
        return tuple(f"{self.task}/{subset}" for subset in self.counted) if self.joined else (self.task,)

    def for_section(self, section: Section) -> "Definition":
        """The definition with the columns that ``section`` has."""
        return self.model_copy(update={"columns": section.columns}) if section.columns else self

    def backbone(self, name: str) -> Backbone:
        """The backbone called ``name``; one that the definition does not know stands under its own name."""
        return next((one for one in self.backbones if one.name == name), Backbone(name=name, header=name))


def load_definitions(folder: Path = DEFINITIONS) -> list[Definition]:
    """Every ``*.yaml`` of ``folder``, sorted by file name.

    Raises:
        UserError: a file that is not a definition, names two things alike or a backbone that it does not
        declare.
    """
    definitions = [load_definition(path) for path in sorted(folder.glob("*.yaml"))]
    names = [section.name for definition in definitions for section in definition.sections]
    for name in names:
        if names.count(name) > 1:
            raise UserError(f"The table definitions in {folder.name} declare section {name} twice.")
    return definitions


def load_definition(path: Path) -> Definition:
    """The definition in ``path``; `UserError` naming the file."""
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise UserError(f"{path.name} is not YAML: {' '.join(str(error).split())}.") from error
    if not isinstance(content, dict):
        raise UserError(f"{path.name} holds no mapping.")
    try:
        definition = validate(Definition, content)
    except UserError as error:
        raise UserError(f"{path.name}: {error}") from error
    known = {backbone.name for backbone in definition.backbones}
    for section in definition.sections:
        unknown = sorted(set(section.backbones) - known)
        if unknown:
            choices = ", ".join(sorted(known))
            raise UserError(f"{path.name}: section {section.name} names backbone {unknown[0]}, not one of {choices}.")
    return definition


def settle_task(definition: Definition, known: Collection[str]) -> Definition:
    """The definition, no longer planned once its task is one of ``known``.

    Raises:
        UserError: the task is not one of ``known``, and not planned.
    """
    if set(definition.choices) <= set(known):
        return definition.model_copy(update={"planned": False})
    if definition.planned:
        return definition
    raise UserError(
        f"task={definition.task} is not one of {', '.join(sorted(known))}{did_you_mean(definition.task, known)}."
    )


def known_tasks(folder: Path = TASK_CONFIGS) -> frozenset[str]:
    """The names that the configuration group ``task`` offers, e.g. ``commonsense``, ``glue/cola``, and its folders."""
    names = [path.relative_to(folder).with_suffix("") for path in folder.rglob("*.yaml")]
    parents = {name.parent.as_posix() for name in names} - {"."}
    return frozenset(name.as_posix() for name in names) | parents
