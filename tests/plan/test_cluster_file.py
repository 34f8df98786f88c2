"""Cluster files as TOML: where what is wrong in one stands, and what was expected there."""

from __future__ import annotations

import pytest

from atoll.plan.cluster_file import ClusterFile, SpecError, kind

TEXT = '[cluster.red]\ndevices = [\n "gpu[0]",\n 1]\nowner = 2026-01-01\n'


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[cluster.red]\ndevices = [\n", "f.toml:3: "),
        ("[cluster.red]\ndevices = ]\n", "f.toml:2:11: Invalid value"),
        ('[cluster.red]\ndevices = ["gpu[0]"]\ndevices = []', "f.toml:3: Cannot overwrite a value"),
        (f"a = {'1' * 5000}", "f.toml: no cluster file: "),
        (f"a = {'[' * 5000}", "f.toml: no cluster file: "),
    ],
)
def test_what_is_no_toml_is_said_with_its_place(text: str, message: str) -> None:
    with pytest.raises(SpecError) as caught:
        ClusterFile(text, name="f.toml")
    assert caught.value.message.startswith(message)
    assert "toml.io" in caught.value.hint


def test_a_key_is_called_by_file_line_and_name() -> None:
    file = ClusterFile(TEXT, name="f.toml")
    assert file.at(("cluster", "red", "devices", 1)) == "f.toml:4: cluster.red.devices[1]: "
    assert file.at(()) == "f.toml:1: "
    assert file.error(("cluster", "red"), "wrong").message == "f.toml:1: cluster.red: wrong"


def test_tables_and_arrays_are_what_they_should_be() -> None:
    file = ClusterFile(TEXT, name="f.toml")
    red = file.table(file.table(file.data, ("cluster",)), ("cluster", "red"))
    assert file.table(file.data, ("policy",)) == {}
    with pytest.raises(SpecError, match=r"f.toml:4: cluster.red.devices\[1\]: found an integer, expected a string"):
        file.strings(red["devices"], ("cluster", "red", "devices"), "selectors")
    with pytest.raises(SpecError, match=r"found a date or time, expected a table"):
        file.table(red, ("cluster", "red", "owner"))
    with pytest.raises(
        SpecError, match=r"f.toml:5: cluster.red.owner: no such key, expected one of a, b, own"
    ) as caught:
        file.known(red, ("cluster", "red"), ("a", "b", "own", "devices"))
    assert caught.value.hint == "did you mean own?"


def test_kinds_are_toml_words() -> None:
    values: tuple[object, ...] = (True, 1, 1.5, "a", [], {})
    words = ("a boolean", "an integer", "a float", "a string", "an array", "a table")
    assert tuple(map(kind, values)) == words
