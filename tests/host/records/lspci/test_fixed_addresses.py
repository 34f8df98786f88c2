"""What lspci shows of Enhanced Allocation and of nothing else."""

from __future__ import annotations

import pytest

from atoll.host.fact import Known, value_of
from host.records.paste import PORT, at, host_of

_ENTRY = """
\tCapabilities: [98] Enhanced Allocation (EA): NumEntries=1
\t\tEntry 0: Enable+ Writable- EntrySize=2
\t\t\t BAR Equivalent Indicator: {}
\t\t\t PrimaryProperties: memory space, non-prefetchable
\t\t\t SecondaryProperties: entry unavailable for use, PrimaryProperties should be used
\t\t\t Base: b0000000
\t\t\t MaxOffset: 000fffff"""


def _with(entry: str, *, function: int) -> str:
    """The port and the function below it, one of them with an entry before its capabilities."""
    blocks = PORT.split("\n\n")
    blocks[function] = blocks[function].replace("\n\tCapabilities:", f"{_ENTRY.format(entry)}\n\tCapabilities:", 1)
    return "\n\n".join(blocks)


@pytest.mark.parametrize(
    ("word", "all_told"), [("BAR 0", True), ("expansion ROM", True), ("not indicated", False), ("reserved", False)]
)
def test_addresses_that_stand_for_no_region_are_not_shown(word: str, all_told: bool) -> None:
    bars = host_of(_with(word, function=1)).functions[at("01:00.0")].bars
    assert isinstance(bars, Known) is all_told


@pytest.mark.parametrize(("word", "more"), [("BAR 0", False), ("resource behind function", True)])
def test_a_bridge_may_forward_what_hardware_fixed(word: str, more: bool) -> None:
    bridge = value_of(host_of(_with(word, function=0)).functions[at("00:01.0")].bridge, None)
    assert bridge is not None
    assert bridge.windows
    assert bool(bridge.unread) is more
