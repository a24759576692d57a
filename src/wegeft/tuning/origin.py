"""Where the hyper-parameters of a run come from: a search, something published, or neither.

Does not: look at the values of any other run.
"""

from typing import TYPE_CHECKING, Any

from wegeft.tuning.found import look_up

if TYPE_CHECKING:
    from wegeft.config import RunConfig


def origins(config: "RunConfig") -> dict[str, dict[str, Any]]:
    """For each key that can be searched: its value, and whether that is ``tuned``, ``published`` or ``own``.

    ``published`` values are those that ``tune.published`` states for such a run; ``own`` ones are a default of this
    suite, or the command line's.
    """
    plain = config.plain()
    tuned = {} if config.tuned is None else config.tuned.values
    found: dict[str, dict[str, Any]] = {}
    for key in dict.fromkeys([*(one.key for one in config.tune.space), *tuned]):
        value = look_up(plain, key)
        found[key] = {"value": value, "source": "published" if _is_published(config, plain, key) else "own"}
        if config.tuned is not None and key in tuned:
            found[key] |= {"source": "tuned", "file": config.tuned.file, "sha256": config.tuned.sha256}
    return found


def _is_published(config: "RunConfig", plain: dict[str, Any], key: str) -> bool:
    return any(
        key in one.values
        and one.values[key] == look_up(plain, key)
        and all(look_up(plain, place) == value for place, value in one.when.items())
        for one in config.tune.published
    )
