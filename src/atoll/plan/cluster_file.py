"""A cluster file as TOML: its tables and keys, and for each that is not as it should be where it stands."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any

from atoll.errors import InputError
from atoll.plan.locate import KeyPath, locate

__all__ = ["ClusterFile", "SpecError", "kind"]

_HINT = "the file is TOML: https://toml.io/en/v1.0.0"
_LIKE = {
    "cluster": '[cluster.red] has devices = ["0004:04:00.0"], and perhaps driver, handover and owner',
    "policy": "[policy] has survive = { tenant = 1 }, and perhaps other keys; docs/clusters.md tells them",
}
"""What tables look like, for whoever wrote one otherwise."""


class SpecError(InputError):
    """A cluster file that cannot be used: ``FILE:LINE: KEY: what was found, what was expected``."""


class ClusterFile:
    """A cluster file that is TOML; ``name`` is what messages call it."""

    def __init__(self, text: str, *, name: str) -> None:
        """Raise SpecError for what is no TOML."""
        self.data = _parse(text, name)
        self._name = name
        self._positions = locate(text)

    def line(self, path: KeyPath) -> int:
        """Return the line in which a key stands."""
        return self._positions.line(path)

    def at(self, path: KeyPath) -> str:
        """Return where a key stands, in front of a message."""
        key = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path).lstrip(".")
        return f"{self._name}:{self.line(path)}: " + (f"{key}: " if key else "")

    def error(self, path: KeyPath, what: str, *, hint: str = "") -> SpecError:
        """Return the error for a key: the file, the line, the key, what is wrong with it."""
        like = _LIKE.get(str(path[0]), "") if path else ""
        return SpecError(self.at(path) + what, hint=hint or like)

    def known(self, data: Mapping[str, Any], path: KeyPath, names: tuple[str, ...]) -> None:
        """Raise for a key that is none of these."""
        for key in data:
            if key not in names:
                near = get_close_matches(key, names, n=1)
                expected = (
                    "expected " + " or ".join(names) if len(names) == 2 else "expected one of " + ", ".join(names)
                )
                what = "no such table" if not path and isinstance(data[key], dict) else "no such key"
                hint = f"did you mean {near[0]}?" if near else ""
                raise self.error((*path, key), f"{what}, {expected}", hint=hint)

    def table(self, data: Mapping[str, Any], path: KeyPath) -> dict[str, Any]:
        """Return the table at the last key of a path, empty where there is none."""
        found = data.get(str(path[-1]), {})
        if not isinstance(found, dict):
            raise self.error(path, f"found {kind(found)}, expected a table")
        return found

    def strings(self, value: object, path: KeyPath, what: str) -> list[str]:
        """Return an array of strings."""
        if not isinstance(value, list):
            raise self.error(path, f"found {kind(value)}, expected an array of {what}", hint=f'{path[-1]} = ["…", "…"]')
        for index, item in enumerate(value):
            if not isinstance(item, str):
                raise self.error((*path, index), f"found {kind(item)}, expected a string")
        return value


def _parse(text: str, name: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        # "Invalid value (at line 3, column 9)" or "… (at end of document)"
        what, _, where = str(error).rpartition(" (at ")
        words = where.rstrip(")").replace(",", "").split()
        place = f"{words[1]}:{words[3]}" if words[:1] == ["line"] else str(text.count("\n") + 1)
        raise SpecError(f"{name}:{place}: {what or error}", hint=_HINT) from None
    except (ValueError, RecursionError) as error:
        # A number of thousands of digits, or tables in tables in tables: Python's limits.
        raise SpecError(f"{name}: no cluster file: {str(error)[:120]}", hint=_HINT) from None


def kind(value: object) -> str:
    """Return what a TOML value is, in TOML's words, with its article."""
    kinds: tuple[tuple[type, str], ...] = (
        (bool, "a boolean"),
        (int, "an integer"),
        (float, "a float"),
        (str, "a string"),
        (list, "an array"),
        (dict, "a table"),
    )
    return next((word for type_, word in kinds if isinstance(value, type_)), "a date or time")
