"""Chat templates, of which there are none."""

from typing import Any


def resolve_chat_template(**_options: Any) -> None:
    """No template."""
