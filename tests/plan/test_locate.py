"""Lines of keys in TOML texts, against ones counted by hand and against tomllib."""

from __future__ import annotations

import tomllib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atoll.plan.locate import KeyPath, locate

TEXT = """\
# a comment with [brackets] and = signs
top = 1

[cluster.red]   # trailing
devices = [
    "0004:04:00.0",  # ] not the end
    'gpu[0]',

    "10de:1db1",
]
text = \"\"\"
[not.a.table]
key = "no key"
\\\"""still inside""\"""
after = 2

[ cluster . "blue \\u00e9" ]
'quoted key' = { tenant = 1, "x.y" = [1, 2] }
dotted.path = true

[[array]]
item = 1
"""


@pytest.mark.parametrize(
    ("path", "line"),
    [
        (("top",), 2),
        (("cluster",), 4),
        (("cluster", "red"), 4),
        (("cluster", "red", "devices"), 5),
        (("cluster", "red", "devices", 0), 6),
        (("cluster", "red", "devices", 1), 7),
        (("cluster", "red", "devices", 2), 9),
        (("cluster", "red", "text"), 11),
        (("cluster", "red", "after"), 15),
        (("cluster", "blue é"), 17),
        (("cluster", "blue é", "quoted key"), 18),
        (("cluster", "blue é", "quoted key", "x.y", 1), 18),
        (("cluster", "blue é", "dotted", "path"), 19),
        (("array",), 21),
        (("array", "item"), 22),
        (("cluster", "red", "no such key"), 4),
        (("nothing",), 1),
    ],
)
def test_lines(path: KeyPath, line: int) -> None:
    assert locate(TEXT).line(path) == line
    assert locate(TEXT.replace("\n", "\r\n")).line(path) == line


def test_what_looks_like_a_key_inside_a_string_is_none() -> None:
    tomllib.loads(TEXT)
    assert not any("not" in path or path[-1] == "key" for path in locate(TEXT).lines)


WORDS = st.text(st.sampled_from("ab#[]='\"\\, .{}"), max_size=6)
VALUES: st.SearchStrategy[Any] = st.recursive(
    st.booleans() | st.integers(-9, 9) | WORDS, lambda inner: st.lists(inner, max_size=3), max_leaves=5
)


def written(value: Any) -> str:
    match value:
        case bool():
            return str(value).lower()
        case str():
            escaped = value.replace("\\", "\\\\").replace('"', '\\"')
            return f'"{escaped}"'
        case list():
            return "[ # [\n" + "".join(f"  {written(item)}, # ,]\n" for item in value) + "]"
        case _:
            return str(value)


@given(st.dictionaries(st.sampled_from("abcdef"), st.dictionaries(WORDS, VALUES, max_size=3), max_size=4))
def test_every_key_of_any_text_is_found_where_it_was_written(tables: dict[str, dict[str, Any]]) -> None:
    text = ""
    expected: dict[KeyPath, int] = {}
    for table, keys in tables.items():
        expected[(table,)] = text.count("\n") + 1
        text += f"[{table}]\n"
        for key, value in keys.items():
            expected[(table, key)] = text.count("\n") + 1
            text += f"{written(key)} = {written(value)}\n# x = [\n"
    assert tomllib.loads(text) == tables
    positions = locate(text)
    assert {path: line for path, line in positions.lines.items() if len(path) < 3} == expected
    for path, line in positions.lines.items():
        found: Any = tables
        for part in path:
            found = found[part]
        assert written(found).split("\n")[0].strip() in text.split("\n")[line - 1] or len(path) == 1
