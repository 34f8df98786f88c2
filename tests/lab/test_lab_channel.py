"""What a guest writes is what the host reads, whatever else is printed on the same line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import labguest
from lab.channel import read_channel
from lab.errors import LabError

ANSWER = labguest.frames("answer", "", json.dumps({"groups": [1, 2]}).encode(), first=0)
FILE = labguest.frames("file", "host.tar.xz", bytes(range(256)) * 64, first=len(ANSWER))
END = labguest.frames("end", "0", b"", first=len(ANSWER) + len(FILE))


def test_all_arrives() -> None:
    found = read_channel(b"".join(ANSWER + FILE + END))
    assert found.answer == {"groups": [1, 2]}
    assert found.files == {"host.tar.xz": bytes(range(256)) * 64}
    assert found.exit_code == 0


@given(st.lists(st.sampled_from([b"[    1.0] a kernel message\r\n", b"\n", b"lab|x\n", b"half a line"]), max_size=9))
def test_what_the_kernel_prints_between_does_not_matter(noise: list[bytes]) -> None:
    text = b""
    for number, frame in enumerate(ANSWER + FILE + END):
        text += (noise[number % len(noise)] if noise else b"") + frame.replace(b"\n", b"\r\n")
    assert read_channel(text) == read_channel(b"".join(ANSWER + FILE + END))


@given(st.integers(min_value=0, max_value=len(b"".join(ANSWER + FILE + END)) - 1))
def test_a_guest_that_died_has_reported_no_end(length: int) -> None:
    found = read_channel(b"".join(ANSWER + FILE + END)[:length])
    assert found.exit_code is None
    assert found.answer in ({}, {"groups": [1, 2]})
    assert all(data == bytes(range(256)) * 64 for data in found.files.values())


def test_a_damaged_line_is_not_passed_over() -> None:
    damaged = [*ANSWER, FILE[0], FILE[1].replace(b"|", b"|f", 1), *FILE[2:], *END]
    with pytest.raises(LabError):
        read_channel(b"".join(damaged))


def test_the_scenario_is_where_the_host_puts_it() -> None:
    assert Path("/scenario/main.py") == labguest.SCENARIO
