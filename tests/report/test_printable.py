"""What goes to a terminal: characters, tabs and our own colours."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from atoll.report.layout import display_width
from atoll.report.printable import printable
from atoll.report.style import Style

CONTROL = st.text(st.sampled_from("ab\t\n\r\x07\x1b[]0123m;\x7f\x9b\u202e é"))


@given(CONTROL)
def test_nothing_but_characters_tabs_and_our_colours_is_left(text: str) -> None:
    shown = printable(text)
    for colour in ("\x1b[0m", "\x1b[1m", "\x1b[2m", "\x1b[31m", "\x1b[32m", "\x1b[33m"):
        shown = shown.replace(colour, "")
    assert all(character.isprintable() or character == "\t" for character in shown)


@given(st.text(st.characters(exclude_categories=("C", "Zl", "Zp", "Zs"))))
def test_what_is_printable_stays(text: str) -> None:
    assert printable(text) == text
    marked = Style(colour=True).bad(text)
    assert printable(marked) == marked
    assert display_width(marked) == len(text)
