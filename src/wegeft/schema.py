"""What every typed piece of the configuration is made of: strict models, and open groups with a ``_target_``.

An open group (a method, a task, a data source) carries the import path of a class under ``_target_``; that class
has a ``Config`` model of its own, which checks the rest of the group. So adding one edits no existing file.

Does not: know any particular key (``wegeft.config`` does), compose YAML, or import torch.
"""

import difflib
import importlib
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import ErrorDetails

from wegeft.errors import UserError

TARGET_KEY = "_target_"


class Strict(BaseModel):
    """Base of every config model: immutable; an unknown key is an error, and so is a number that is not finite."""

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=(), allow_inf_nan=False)


Model = TypeVar("Model", bound=BaseModel)


def load_class(path: str, key: str = TARGET_KEY) -> Any:
    """Import the class at dotted ``path``; `UserError` naming ``key`` if there is none."""
    module_name, _, class_name = path.rpartition(".")
    try:
        found = getattr(importlib.import_module(module_name), class_name)
    except (ImportError, AttributeError, ValueError) as error:
        raise UserError(f"{key}={path} cannot be imported: {error}.") from error
    if not isinstance(found, type):
        raise UserError(f"{key}={path} is not a class.")
    return found


def load_target(node: Mapping[str, Any], key: str = "") -> tuple[Any, Any]:
    """The class that ``node['_target_']`` names, and the rest of ``node`` validated by its ``Config``.

    Args:
        node: a resolved open group, e.g. the ``method`` node.
        key: dotted name of ``node`` in the configuration, for messages.

    Returns:
        The class and an instance of its ``Config``.

    Raises:
        UserError: no or a wrong ``_target_``, or a value that ``Config`` refuses.
    """
    path = node.get(TARGET_KEY)
    if not isinstance(path, str):
        raise UserError(f"{key or 'the group'} names no {TARGET_KEY} (the import path of a class).")
    target = load_class(path, f"{key}.{TARGET_KEY}".lstrip("."))
    rest = {name: value for name, value in node.items() if name != TARGET_KEY}
    return target, validate(target.Config, rest, key)


def validate(model: type[Model], values: Mapping[str, Any], key: str = "") -> Model:
    """``values`` as a ``model``; the first refusal becomes one sentence that names the dotted key."""
    try:
        return model.model_validate(dict(values))
    except ValidationError as error:
        raise UserError(_sentence(error.errors()[0], model, key)) from error


def did_you_mean(word: str, choices: Iterable[str]) -> str:
    """``' (did you mean X?)'`` for the nearest of ``choices``, or nothing."""
    near = nearest(word, choices)
    return f" (did you mean {near}?)" if near else ""


def nearest(word: str, choices: Iterable[str]) -> str | None:
    """The one of ``choices`` that ``word`` was probably meant to be; None where none is near."""
    return next(iter(difflib.get_close_matches(word, list(choices), n=1)), None)


def _sentence(detail: ErrorDetails, model: type[BaseModel], key: str) -> str:
    """One pydantic refusal as one sentence with the dotted key, the value and the choices."""
    location = [str(part) for part in detail["loc"]]
    dotted = ".".join([*([key] if key else []), *location])
    if detail["type"] == "extra_forbidden":
        known = _fields_at(model, location[:-1])
        where = ".".join([*([key] if key else []), *location[:-1]]) or "the configuration"
        return (
            f"{dotted} is not a key of {where}{did_you_mean(location[-1], known)}; "
            f"its keys are {', '.join(sorted(known))}."
        )
    if detail["type"] == "missing":
        return f"{dotted} is missing."
    if detail["type"] == "tuple_type":
        example = detail["input"] if isinstance(detail["input"], str | int | float) else "ONE,ANOTHER"
        return f"{dotted}={detail['input']!r} is refused: it must be a list, e.g. {dotted}=[{example}]."
    message = detail["msg"].removeprefix("Value error, ").replace("Tuple", "List").rstrip(".")
    if detail["type"] == "value_error" and (not location or message.startswith(dotted)):
        return f"{message}."
    return f"{dotted}={detail['input']!r} is refused: {message[0].lower()}{message[1:]}."


def _fields_at(model: type[BaseModel], location: list[str]) -> list[str]:
    """Field names of the (nested) model at ``location`` inside ``model``."""
    for part in location:
        field = model.model_fields.get(part)
        candidates = [field.annotation, *get_args(field.annotation)] if field else []
        nested = [c for c in candidates if isinstance(c, type) and issubclass(c, BaseModel)]
        if not nested:
            return []
        model = nested[0]
    return list(model.model_fields)
