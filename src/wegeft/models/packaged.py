"""The mini backbones that ship with the package, and how a configuration names them.

Does not: load anything.
"""

from pathlib import Path

from wegeft.errors import UserError

PREFIX = "packaged:"
_FOLDER = Path(__file__).parent / "mini"


def packaged_folder(source: str) -> Path | None:
    """The folder of ``packaged:NAME``; None for a source of another kind.

    Raises:
        UserError: there is no packaged backbone of that name.
    """
    if not source.startswith(PREFIX):
        return None
    folder = _FOLDER / source.removeprefix(PREFIX)
    if not folder.is_dir():
        known = ", ".join(sorted(path.name for path in _FOLDER.glob("*/"))) or "none"
        raise UserError(f"model.source={source}: no such packaged backbone; there are: {known}.")
    return folder
