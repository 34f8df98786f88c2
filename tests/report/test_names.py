"""What a function is called where there is little room, and where the record shows neither class nor ids."""

from __future__ import annotations

from dataclasses import replace

import pytest
from reach_hosts import endpoint

from atoll.host.model import UNTOLD_CLASS
from atoll.report.layout import display_width
from atoll.report.names import Names

_LONG = "Some Maker of Things, Incorporated and Limited " + "Very Wide Controller of Nearly Everything " * 2
_NAMES = Names(vendors={0x8086: "Intel"}, devices={(0x8086, 0x1533): _LONG})


@pytest.mark.parametrize("width", [70, 80, 96])
def test_a_name_is_cut_and_the_ids_stay(width: int) -> None:
    function = endpoint("01:00.0", ids=(0x8086, 0x1533), class_code=0x020000)
    line = _NAMES.short_line(function, width)
    assert display_width(line) <= width
    assert "Ethernet controller [0200]: Intel Some Maker" in line
    assert "… [8086:1533]" in line
    assert _NAMES.short_line(function, 400) == _NAMES.line(function)


def test_what_is_not_told_is_named_as_such() -> None:
    hidden = replace(endpoint("01:00.0", ids=(0xFFFF, 0xFFFF), class_code=UNTOLD_CLASS), possible_ids=((None, None),))
    assert Names().line(hidden) == "0000:01:00.0 class unknown: ids unknown"
    port = replace(hidden, class_code=0x060400, label="A Port")
    assert Names().line(port) == "0000:01:00.0 PCI bridge [0604]: A Port"
