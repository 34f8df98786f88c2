"""Documents for programs: one versioned JSON object for each verb."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

__all__ = ["document", "dump"]


def document(verb: str, /, **fields: Any) -> dict[str, Any]:
    """Return a verb's document; its schema stands first: ``atoll.show/1``, ``atoll.twin-new/1``."""
    return {"schema": f"atoll.{verb.replace(' ', '-')}/1", **fields}


def dump(value: Mapping[str, Any]) -> str:
    """Return the document's text: addresses as in sysfs, fields in the order they were given.

    Each entry of a list or a table of the document stands on a line of its own, so that line tools can find and compare
    them, and a host of ten thousand functions is no novel.
    """
    fields = (f"  {_text(name)}: {_lines(field)}" for name, field in value.items())
    return "{\n" + ",\n".join(fields) + "\n}"


_text = json.JSONEncoder(default=lambda value: _plain(value)).encode


def _lines(field: object) -> str:
    """Return a field's text, a line for each of its entries."""
    if isinstance(field, (set, frozenset)):
        field = sorted(field)
    if isinstance(field, Mapping) and field:
        return "{\n" + ",\n".join(f"    {_text(str(name))}: {_text(entry)}" for name, entry in field.items()) + "\n  }"
    if isinstance(field, (list, tuple)) and field:
        return "[\n" + ",\n".join(f"    {_text(entry)}" for entry in field) + "\n  ]"
    return _text(field)


def _plain(value: object) -> object:
    if isinstance(value, (set, frozenset)):
        return sorted(value)
    return str(value)
