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
    """Return the document's text: addresses as in sysfs, fields in the order they were given."""
    return json.dumps(value, indent=2, default=_plain)


def _plain(value: object) -> object:
    if isinstance(value, (set, frozenset)):
        return sorted(value)
    return str(value)
