"""What a program printed, in the strings of another's JSON."""

from __future__ import annotations

import json

import pytest

from atoll.errors import InputError
from atoll.host.fact import value_of
from atoll.host.records.content import read_record
from host.records.paste import PORT, host_of


@pytest.mark.parametrize(
    "document",
    [
        {"changed": True, "rc": 0, "stdout": PORT},
        {"results": [{"stdout": PORT, "stdout_lines": PORT.splitlines()}]},
        [{"host": "a", "lines": PORT.splitlines()}],
        {"facts": {"pci": {"raw": PORT, "names": ["a", "b", "c"]}}},
    ],
)
def test_text_in_strings_is_read(document: object) -> None:
    host = read_record(json.dumps(document, indent=1).encode(), name="paste").host
    assert host is not None
    whole = host_of(PORT)
    assert [f.address for f in host.functions.values()] == [f.address for f in whole.functions.values()]
    for one, other in zip(host.functions.values(), whole.functions.values(), strict=True):
        assert (one.device, one.parent) == (other.device, other.parent)
        assert value_of(one.acs, 0) == value_of(other.acs, 0)


@pytest.mark.parametrize("text", ['{"stdout": "a\\nb"}', '{"a": ["x", "y", "z"]}', "{}", '{"a": 1'])
def test_what_holds_none_is_refused_as_before(text: str) -> None:
    with pytest.raises(InputError, match="JSON"):
        read_record(text.encode(), name="paste")
