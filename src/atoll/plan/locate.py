"""Where each key of a TOML text stands: ``tomllib`` gives values without their lines.

Source of the grammar: TOML v1.0.0. Only texts that ``tomllib`` has accepted are scanned.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, field
from typing import TypeAlias

__all__ = ["KeyPath", "Positions", "locate"]

KeyPath: TypeAlias = tuple[str | int, ...]
"""Keys from the top; the items of an array by index."""

_BARE_END = frozenset(" \t\n.=]#,}")
_DEEPEST = 64
"""Keys of a path that are told apart: no cluster file has more, and a stranger's may have thousands."""


@dataclass(frozen=True, slots=True)
class Positions:
    """Lines, counted from 1, of tables, keys and array items."""

    lines: dict[KeyPath, int] = field(default_factory=dict)

    def line(self, path: KeyPath) -> int:
        """Return the line of a path, or that of the nearest table or key above it; 1 where there is none."""
        while path:
            if path in self.lines:
                return self.lines[path]
            path = path[:-1]
        return 1


def locate(text: str) -> Positions:
    """Return where the keys of a valid TOML text stand."""
    return _Scanner(text.replace("\r\n", "\n")).scan()


class _Scanner:
    """One pass over a valid text."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self.counted = 0
        self.line = 1
        self.lines: dict[KeyPath, int] = {}

    def scan(self) -> Positions:
        table: KeyPath = ()
        self.blank()
        while self.at < len(self.text):
            line = self.here()
            if self.text[self.at] == "[":
                brackets = 2 if self.text.startswith("[[", self.at) else 1
                self.at += brackets
                table = self.key()
                self.note(table, line, from_part=0)
                self.at += brackets
            else:
                self.pair(table)
            self.blank()
        return Positions(self.lines)

    def here(self) -> int:
        """Return the line of the present position."""
        self.line += self.text.count("\n", self.counted, self.at)
        self.counted = self.at
        return self.line

    def note(self, path: KeyPath, line: int, *, from_part: int) -> None:
        """Remember a path, and what stands above it where nothing else named it before."""
        for length in range(from_part + 1, min(len(path), _DEEPEST)):
            self.lines.setdefault(path[:length], line)
        self.lines[path[:_DEEPEST]] = line

    def pair(self, above: KeyPath) -> None:
        """Pass ``key = value``."""
        line = self.here()
        path = above + self.key()
        self.note(path, line, from_part=len(above))
        self.at = self.text.index("=", self.at) + 1
        self.blank()
        self.value(path)

    def key(self) -> KeyPath:
        """Pass a dotted key."""
        parts: list[str | int] = []
        while True:
            self.space()
            start = self.at
            if self.text[start] in "\"'":
                self.string()
                parts.append(str(tomllib.loads(f"k = {self.text[start : self.at]}")["k"]))
            else:
                while self.text[self.at] not in _BARE_END:
                    self.at += 1
                parts.append(self.text[start : self.at])
            self.space()
            if self.text[self.at] != ".":
                return tuple(parts)
            self.at += 1

    def value(self, path: KeyPath) -> None:
        """Pass a value, remembering where the items of arrays and the keys of inline tables stand."""
        first = self.text[self.at]
        if first in "\"'":
            self.string()
        elif first == "[":
            self.at += 1
            self.blank()
            index = 0
            while self.text[self.at] != "]":
                self.lines[(*path, index)[:_DEEPEST]] = self.here()
                self.value((*path, index))
                index += 1
                self.separator()
            self.at += 1
        elif first == "{":
            self.at += 1
            self.blank()
            while self.text[self.at] != "}":
                self.pair(path)
                self.separator()
            self.at += 1
        else:
            while self.at < len(self.text) and self.text[self.at] not in ",]}\n#":
                self.at += 1

    def separator(self) -> None:
        """Pass what stands between two items."""
        self.blank()
        if self.text[self.at] == ",":
            self.at += 1
            self.blank()

    def string(self) -> None:
        """Pass a string of any of the four forms."""
        quote = self.text[self.at]
        long = self.text.startswith(quote * 3, self.at)
        end = quote * 3 if long else quote
        self.at += len(end)
        while not self.text.startswith(end, self.at):
            self.at += 2 if quote == '"' and self.text[self.at] == "\\" else 1
        self.at += len(end)
        while long and self.text.startswith(quote, self.at):
            # One or two quotes may stand right before the closing three.
            self.at += 1

    def space(self) -> None:
        """Pass spaces and tabs."""
        while self.text[self.at : self.at + 1] in (" ", "\t"):
            self.at += 1

    def blank(self) -> None:
        """Pass white space, line ends and comments."""
        while self.at < len(self.text):
            if self.text[self.at] == "#":
                end = self.text.find("\n", self.at)
                self.at = len(self.text) if end < 0 else end
            elif self.text[self.at] in " \t\n":
                self.at += 1
            else:
                return
