"""The runs that fill a table, as command-line words. Does not: know which of them exist."""

from collections.abc import Mapping, Sequence
from itertools import product

from wegeft.errors import UserError
from wegeft.schema import did_you_mean
from wegeft.tables.definition import Definition, Expected, Section, known_tasks, load_definitions

FILTERS = ("method", "task", "scale", "model", "protocol", "seed")


def runs_of_table(name: str, words: Sequence[str]) -> list[tuple[str, ...]]:
    """The words of every run that ``name``, a table or a family of tables, needs.

    Args:
        name: of a definition or of one of its sections.
        words: of these, those about :data:`FILTERS` choose among the table's runs (``seed=42,43``); the others are
            added to every run.

    Raises:
        UserError: no such table, one whose task does not exist yet, or a choice that leaves nothing.
    """
    wanted = {word.partition("=")[0]: set(word.partition("=")[2].split(",")) for word in words if _is_filter(word)}
    more = [word for word in words if not _is_filter(word)]
    found = []
    for definition, section in _sections(name):
        for model in section.backbones:
            for row, choice, seed in product(section.rows, definition.choices, definition.seeds):
                run = _words(choice, section, model, row, seed)
                if all(run[key] in values for key, values in wanted.items()):
                    said = [f"{key}={run[key]}" for key in FILTERS if key != "seed"]
                    found.append((*said, *section.overrides, *row.overrides, *more, f"seed={seed}"))
    if not found:
        chosen = " ".join(word for word in words if _is_filter(word))
        raise UserError(f"table={name} has no runs{f' with {chosen}' if chosen else ''}.")
    return found


def _is_filter(word: str) -> bool:
    return word.partition("=")[0] in FILTERS


def _words(choice: str, section: Section, model: str, row: Expected, seed: int) -> Mapping[str, str]:
    return {
        "method": row.method,
        "task": choice,
        "scale": section.scale,
        "model": model,
        "protocol": section.protocol,
        "seed": str(seed),
    }


def _sections(name: str) -> list[tuple[Definition, Section]]:
    tasks = known_tasks()
    definitions = load_definitions()
    both = [(definition, section) for definition in definitions for section in definition.sections]
    found = [(definition, section) for definition, section in both if name in (definition.name, section.name)]
    if not found:
        names = sorted({definition.name for definition in definitions})
        raise UserError(f"table={name} is not known{did_you_mean(name, names)}; tables: {', '.join(names)}.")
    for definition, _ in found:
        unknown = sorted(set(definition.choices) - tasks)
        if unknown:
            raise UserError(f"table={name} needs task={unknown[0]}, which is not part of the suite yet.")
    return found
