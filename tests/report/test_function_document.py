"""A function as programs get it."""

from __future__ import annotations

from dataclasses import replace

from reach_hosts import endpoint, port

from atoll.host.fact import Known, Unknown
from atoll.pci.bar import Bar
from atoll.report.function_document import function_document


def test_a_bar_whose_register_says_otherwise() -> None:
    bars = (
        Bar(0, 0xE0000000, 0x1000, memory=True),
        Bar(2, 0xE1000000, 0x1000, memory=True, register=0, resized=0x2000),
    )
    document = function_document(replace(endpoint("01:00.0"), bars=Known(bars)), [], links_told=True)
    assert [(bar["register"], bar["resized"]) for bar in document["bars"]] == [(None, None), ("0x0", 0x2000)]


def test_whether_a_port_may_sleep() -> None:
    told = function_document(replace(port("00:01.0", 1), power_control=Known("on")), [], links_told=True)
    assert told["power_control"] == "on"
    cut = function_document(replace(port("00:01.0", 1), power_control=Unknown("cut")), [], links_told=True)
    assert (cut["power_control"], cut["unknown"]["power_control"]) == (None, "cut")
    other = function_document(replace(endpoint("01:00.0"), power_control=Unknown("cut")), [], links_told=True)
    assert other["power_control"] is None
    assert "power_control" not in other["unknown"], "it is asked of ports alone"
