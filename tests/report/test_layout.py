"""Text in a hundred columns."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from atoll.report.layout import WIDTH, columns, cut, display_width, plural, table, tree, within, wrap
from atoll.report.style import Style

WORDS = st.lists(st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=30)).map(" ".join)


@given(WORDS, st.integers(40, 120))
def test_wrapping_keeps_words_and_width(text: str, width: int) -> None:
    lines = wrap(text, first="  - ", width=width)
    assert " ".join(line[4:] for line in lines).split() == text.split()
    assert all(len(line) <= width for line in lines)
    assert all(line.startswith("    ") for line in lines[1:])


def test_a_long_word_stays_whole() -> None:
    assert wrap("a " + "b" * 50, width=20) == ["a", "b" * 50]


def test_colour_takes_no_room() -> None:
    assert display_width(Style(colour=True).bad("four")) == 4
    assert columns([(Style(colour=True).bad("a"), "x"), ("bb", "y")])[1] == "bb  y"


def test_columns() -> None:
    assert columns([("a", "1", "x"), ("bbb", "22")], right={1}) == ["a     1  x", "bbb  22"]
    assert columns([]) == []


@given(st.text(max_size=200), st.integers(1, 50))
def test_cutting(text: str, width: int) -> None:
    assert len(cut(text, width)) <= width
    assert len(text) > width or cut(text, width) == text


@given(st.lists(st.tuples(st.text("ab ", max_size=10), st.text("cd ", max_size=300)), min_size=1))
def test_a_table_fits(rows: list[tuple[str, str]]) -> None:
    lines = table(("one", "two"), rows, flexible=1)
    assert max(map(len, lines)) <= WIDTH
    begun = max(3, *(len(first) for first, _ in rows)) + 2
    told = [line[begun:].split() for line in lines]
    words = [["TWO"], *(second.split() for _, second in rows)]
    assert all(word in itertools.chain(*told) for word in itertools.chain(*words) if len(word) < 80)
    assert len(lines) == len(rows) + 1 or any(len(second) > 80 for _, second in rows)


def test_tree() -> None:
    below = {"a": ["b", "c"], "b": ["d"]}
    drawn = tree(["a"], lambda node: below.get(node, []), lambda node, used: [node, f"{node}{used}"])
    assert drawn == ["a", "│  a0", "├─ b", "│  │  b3", "│  └─ d", "│        d6", "└─ c", "      c3"]


def test_plural() -> None:
    assert [plural(0, "link"), plural(1, "link"), plural(2, "entry", "entries")] == ["0 links", "1 link", "2 entries"]


def test_a_narrower_terminal() -> None:
    text = "word " * 60
    with within(80):
        assert max(map(len, wrap(text))) in range(76, 81)
        assert max(map(len, table(("a", "b"), [("x", "y" * 300)], flexible=1))) == 80
    with within(20):
        assert max(map(len, wrap(text))) in range(56, 61), "no narrower than what does not break"
    with within(500):
        assert max(map(len, wrap(text))) in range(WIDTH - 4, WIDTH + 1)
    assert max(map(len, wrap(text))) in range(WIDTH - 4, WIDTH + 1)
