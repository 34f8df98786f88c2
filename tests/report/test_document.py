"""Documents for programs: what they hold, and an entry a line."""

from __future__ import annotations

import json

import pytest

from atoll.pci.address import Address
from atoll.report.document import document, dump


@pytest.mark.parametrize(
    "fields",
    [
        {"groups": [["0000:00:01.0"], ["0000:01:00.0", "0000:01:00.1"]], "count": 2},
        {"devices": {"0000:00:01.0": {"driver": None, "bars": [1, 2]}}, "none": {}, "nothing": [], "text": 'a "b"\n'},
        {"number": 1.5, "yes": True, "unknown": None, "pair": (1, 2), "ö": "ü"},
    ],
)
def test_a_document_reads_back_as_it_was(fields: dict[str, object]) -> None:
    value = document("show", **fields)
    assert json.loads(dump(value)) == json.loads(json.dumps(value))
    assert list(json.loads(dump(value))) == ["schema", *fields]


def test_each_entry_stands_on_a_line() -> None:
    lines = dump(document("groups", recorded=[["a"], ["b", "c"]], by_name={"x": [1], "y": {}})).splitlines()
    assert lines == [
        "{",
        '  "schema": "atoll.groups/1",',
        '  "recorded": [',
        '    ["a"],',
        '    ["b", "c"]',
        "  ],",
        '  "by_name": {',
        '    "x": [1],',
        '    "y": {}',
        "  }",
        "}",
    ]


def test_sets_are_sorted_and_other_values_become_text() -> None:
    value = document("show", numbers=frozenset({3, 1, 2}), inside=[{"set": {2, 1}}], at={Address.parse("01:00.0"): 1})
    assert json.loads(dump(value)) == {
        "schema": "atoll.show/1",
        "numbers": [1, 2, 3],
        "inside": [{"set": [1, 2]}],
        "at": {"0000:01:00.0": 1},
    }
