"""Text laid out in a hundred columns, or those of a narrower terminal: tables, trees, paragraphs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TypeVar

__all__ = [
    "WIDTH",
    "columns",
    "cut",
    "display_width",
    "first_of",
    "indent",
    "plural",
    "room",
    "table",
    "tree",
    "within",
    "wrap",
]

WIDTH = 100
"""Columns that no line exceeds where it can be helped."""
_NARROWEST = 60
"""Fewer would leave none beside what does not break: addresses, flags, branches of the tree."""
_ROOM = ContextVar("room", default=WIDTH)


@contextmanager
def within(columns: int) -> Iterator[None]:
    """Lay out for a terminal of so many columns, ``WIDTH`` at most."""
    before = _ROOM.set(max(_NARROWEST, min(columns, WIDTH)))
    try:
        yield
    finally:
        _ROOM.reset(before)


def room() -> int:
    """Return how many columns lines may take."""
    return _ROOM.get()


R = TypeVar("R")
C = TypeVar("C")


def display_width(text: str) -> int:
    """Return how many columns a text takes; colour takes none."""
    width, inside = 0, False
    for character in text:
        if inside:
            inside = character != "m"
        elif character == "\x1b":
            inside = True
        else:
            width += 1
    return width


def cut(text: str, width: int) -> str:
    """Return a text without colour in at most ``width`` columns, with an ellipsis where it was cut."""
    return text if len(text) <= width else text[: max(width - 1, 0)].rstrip() + "…"


def plural(count: int, thing: str, things: str = "") -> str:
    """Return ``1 link``, ``2 links``."""
    return f"{count} {thing if count == 1 else things or thing + 's'}"


def first_of(things: Sequence[object], most: int, *, gap: str = " ") -> str:
    """Return the first ``most`` of some things, and how many more there are: ``1 2 3 and 4 more``."""
    more = f" and {len(things) - most} more" if len(things) > most else ""
    return gap.join(map(str, things[:most])) + more


def wrap(text: str, *, first: str = "", rest: str | None = None, width: int | None = None) -> list[str]:
    """Break a text between words. ``first`` stands before the first line, ``rest`` before the others.

    Lines take ``width`` columns, ``room()`` without it. Without ``rest`` the others are indented as far as the first. A
    word that is too long stays whole.
    """
    width = room() if width is None else width
    rest = " " * display_width(first) if rest is None else rest
    lines: list[str] = []
    line, empty = first, True
    for word in text.split():
        if not empty and display_width(line) + 1 + display_width(word) > width:
            lines.append(line)
            line, empty = rest, True
        line += word if empty else " " + word
        empty = False
    return [*lines, line.rstrip()]


def indent(lines: Iterable[str], by: str = "  ") -> list[str]:
    """Return the lines, each with ``by`` in front."""
    return [by + line if line else line for line in lines]


def columns(rows: Sequence[Sequence[str]], *, right: Iterable[int] = ()) -> list[str]:
    """Align cells; the columns numbered in ``right`` stand to the right. The last column is not padded."""
    if not rows:
        return []
    to_the_right = set(right)
    widths = [max(display_width(row[i]) for row in rows if i < len(row)) for i in range(max(map(len, rows)))]
    lines = []
    for row in rows:
        cells = []
        for i, cell in enumerate(row):
            space = " " * (widths[i] - display_width(cell))
            cells.append(space + cell if i in to_the_right else cell + space)
        lines.append("  ".join(cells).rstrip())
    return lines


def table(
    head: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    right: Iterable[int] = (),
    flexible: int | None = None,
) -> list[str]:
    """Lay out rows below a head in capitals.

    The column ``flexible``, of text without colour, is broken between words so that lines fit ``room()``.
    """
    cells = [[h.upper() for h in head], *[list(row) for row in rows]]
    if flexible is None:
        return columns(cells, right=right)
    others = sum(
        max(display_width(row[i]) for row in cells if i < len(row)) + 2 for i in range(len(head)) if i != flexible
    )
    left = max(room() - others, 12)
    broken = []
    for row in cells:
        first, *more = wrap(row[flexible], width=left) if flexible < len(row) else [""]
        broken.append([cut(first, left) if i == flexible else cell for i, cell in enumerate(row)])
        broken += [[cut(line, left) if i == flexible else "" for i in range(len(row))] for line in more]
    return columns(broken, right=right)


def tree(
    roots: Sequence[R],
    children: Callable[[R | C], Sequence[C]],
    lines_of: Callable[[R | C, int], Sequence[str]],
) -> list[str]:
    """Draw a forest. ``lines_of(node, room_used)`` gives a node's lines; the columns used by the drawing are told."""
    out: list[str] = []

    def draw(node: R | C, before: str, here: str, below: str) -> None:
        beneath = children(node)
        lines = lines_of(node, len(before + here))
        for number, line in enumerate(lines):
            trunk = "│  " if beneath and number else "   " if number else ""
            out.append((before + here if not number else before + below + trunk) + line)
        for number, child in enumerate(beneath):
            last = number == len(beneath) - 1
            draw(child, before + below, "└─ " if last else "├─ ", "   " if last else "│  ")

    for root in roots:
        draw(root, "", "", "")
    return out
