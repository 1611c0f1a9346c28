"""What breaks a schema, in words for people."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pydantic import ValidationError

Key = tuple[str | int, ...]
"""Where a value stands in a file: names of tables and fields, numbers of items."""


def violations(error: ValidationError) -> list[tuple[Key, str]]:
    """Return (key, message) of everything that breaks the schema, in the order of the schema."""
    return [(tuple(one["loc"]), _message(one["msg"])) for one in error.errors(include_url=False, include_input=False)]


def dotted(key: Key) -> str:
    """Return ``key`` as people write it, for example ``method.paper`` or ``authors.0``."""
    return ".".join(map(str, key))


def _message(text: str) -> str:
    text = text.removeprefix("Value error, ")
    return {"Field required": "is missing", "Extra inputs are not permitted": "is no field of this version"}.get(
        text, text
    )
