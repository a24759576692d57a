"""Which keys of a YAML file no comment speaks of.

A comment speaks of a key if it stands on one of the lines of the key's value, or above it: directly above the key, or
above the first of several keys without a blank line or another comment between them. A comment that speaks of a mapping
speaks of its keys as well, unless some of them have comments of their own: then each needs one. The heading of a file
speaks of none.

Does not: tell whether a comment says why.
"""

import re
from collections.abc import Iterator

import yaml

NO_VALUES = ("defaults", "_target_", "family")
"""Keys that say what a file is and what it starts from, and set nothing."""
_REFERENCE = re.compile(r"(\$\{[\w.]*(\$\{[\w.]+\}[\w.]*)*\})+")
"""A value that other keys have: the reason stands where they have theirs."""


def uncommented(text: str, own_names: tuple[str, ...] = ()) -> list[str]:
    """Dotted keys with a value of their own that no comment of the YAML ``text`` speaks of.

    Args:
        text: of a file.
        own_names: values that need no comment, as they only repeat what the file is called.
    """
    root = yaml.compose(text, Loader=yaml.SafeLoader)
    return list(_silent(root, "", False, _Comments(text), own_names)) if isinstance(root, yaml.MappingNode) else []


class _Comments:
    """The lines of a text that have a comment."""

    def __init__(self, text: str) -> None:
        rows = [list(line) for line in text.splitlines()]
        for token in yaml.scan(text, Loader=yaml.SafeLoader):
            if isinstance(token, yaml.ScalarToken):  # a # inside a text is none
                start, end = token.start_mark, token.end_mark
                for number in range(start.line, min(end.line + 1, len(rows))):
                    first = start.column if number == start.line else 0
                    last = end.column if number == end.line else len(rows[number])
                    rows[number][first:last] = ["x"] * (last - first)
        lines = ["".join(row) for row in rows]
        self.whole = {number for number, line in enumerate(lines) if line.lstrip().startswith("#")}
        self.some = {number for number, line in enumerate(lines) if re.search(r"(^|\s)#", line)}
        self.blank = {number for number, line in enumerate(lines) if not line.strip()}
        heading = next(number for number in range(len(lines) + 1) if number not in self.whole)
        self.whole -= set(range(heading))


def _silent(
    node: yaml.MappingNode, place: str, spoken_of: bool, comments: _Comments, own_names: tuple[str, ...]
) -> Iterator[str]:
    own = _spoken_of_themselves(node, comments)
    for (key, value), speaks in zip(node.value, own, strict=True):
        name = f"{place}{key.value}"
        known = speaks or (spoken_of and not any(own))
        if key.value in NO_VALUES:
            continue
        if isinstance(value, yaml.MappingNode) and not value.flow_style and value.value:
            yield from _silent(value, f"{name}.", known, comments, own_names)
        elif not known and not _is_no_value(value, own_names):
            yield name


def _spoken_of_themselves(node: yaml.MappingNode, comments: _Comments) -> list[bool]:
    """For each key of ``node`` whether a comment on its lines, or above it and its neighbours, speaks of it."""
    found: list[bool] = []
    above_speaks, end = False, -1
    for key, value in node.value:
        start = key.start_mark.line
        above_speaks = start - 1 in comments.whole or (above_speaks and start - 1 not in comments.blank)
        end = _last_line(value, start)
        nested = isinstance(value, yaml.MappingNode) and not value.flow_style
        lines = range(start, start + 1 if nested else end + 1)
        on_it = any(number in comments.some for number in lines)
        found.append(on_it or above_speaks)
        above_speaks = above_speaks and not on_it
    return found


def _last_line(value: yaml.Node, start: int) -> int:
    """The last line of a value; that of its key for an alias, whose own place is elsewhere."""
    end = value.end_mark.line - (value.end_mark.column == 0)
    return max(start, end) if value.start_mark.line >= start else start


def _is_no_value(value: yaml.Node, own_names: tuple[str, ...]) -> bool:
    said = value.value if isinstance(value, yaml.ScalarNode) else ""
    return said == "???" or said in own_names or bool(_REFERENCE.fullmatch(said))
