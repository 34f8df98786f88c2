"""The assumption behind ATS that is off now."""

from __future__ import annotations

import pytest
from reach_hosts import CLOSED, acs, clusters, endpoint, machine, port, scene, slots

from atoll.pci.acs import Acs


@pytest.mark.parametrize(
    ("ats", "word", "command_line", "assumed"),
    [
        (False, CLOSED, "", True),
        (False, acs("SV TB RR CR UF"), "", False),
        (False, CLOSED, "quiet pci=noaer,noats", False),
        (False, CLOSED, "quiet -- pci=noats", True),
        (None, CLOSED, "", False),
    ],
)
def test_ats_that_is_off_is_taken_as_left_off_by_the_kernel(
    ats: bool | None, word: Acs, command_line: str, assumed: bool
) -> None:
    """A reset brings back what the kernel had switched on; nothing shows whether it had."""
    functions = [port("00:01.0", 1, acs=word), endpoint("01:00.0", "00:01.0", ats=ats), *slots(CLOSED, CLOSED)[2:]]
    host = machine(*functions, command_line=command_line)
    stated = scene(host).state(clusters(host, red="01:00.0"))
    assert stated.proof.verdict == "proven"
    assert ("ats-off" in {assumption.id for assumption in stated.proof.assumptions}) is assumed
