"""JSON of any program that has what another printed in its strings: Ansible's results, answers of an API, logs."""

from __future__ import annotations

import json

__all__ = ["text_in_json"]

_MOST = 1 << 26
_ENOUGH = 3
"""Strings of a list that may be lines; fewer are names."""


def text_in_json(data: bytes) -> bytes | None:
    """Return the texts of several lines that a document holds, one after the other; None where it holds none."""
    if len(data) > _MOST:
        return None
    try:
        document = json.loads(data)
    except (ValueError, RecursionError):
        return None
    texts: list[str] = []
    left: list[object] = [document]
    while left:
        value = left.pop()
        if isinstance(value, str):
            if "\n" in value:
                texts.append(value)
        elif isinstance(value, dict):
            left += reversed(value.values())
        elif isinstance(value, list):
            if len(value) >= _ENOUGH and all(isinstance(item, str) for item in value):
                texts.append("\n".join(value) + "\n")
            else:
                left += reversed(value)
    return "\n".join(dict.fromkeys(texts)).encode("utf-8", errors="replace") or None
