"""Which addresses of a peer can be hit: what of its BARs lies in every window on the way down."""

from __future__ import annotations

from dataclasses import replace

from reach_hosts import CLOSED, OFF, at, endpoint, machine, port, scene, switch

from atoll.fabric.answer import Policy
from atoll.host.fact import Fact, Known, Unknown
from atoll.host.model import Function, Host, Platform
from atoll.isolation.exposure import Exposure, exposure
from atoll.isolation.iova.ranges import Ranges
from atoll.pci.bar import Bar
from atoll.pci.bridge import Bridge, Window
from atoll.pci.header import PortType

_BAR = Bar(0, 0x9000_0000, 0x10_0000, memory=True)
_ONE_BAR: Fact[tuple[Bar, ...]] = Known((_BAR,))


def _with(window: Fact[Bridge | None], bars: Fact[tuple[Bar, ...]] = _ONE_BAR, **more: object) -> Host:
    functions = {f.address: f for f in switch(OFF, OFF)}
    functions[at("02:01.0")] = replace(functions[at("02:01.0")], bridge=window)
    functions[at("04:00.0")] = replace(functions[at("04:00.0")], bars=bars, rom=Known(None))
    return machine(*functions.values(), **more)  # type: ignore[arg-type]


def _window(start: int, end: int) -> Known[Bridge | None]:
    return Known(Bridge(4, 4, (Window(start, end, memory=True), Window(0x1000, 0x1FFF, memory=False)), vga=False))


def hits(host: Host) -> Exposure | None:
    found = scene(host)
    return exposure(found.topology, found.settings, Policy.STRICT, at("03:00.0"), at("04:00.0"))


def test_a_bar_in_its_window() -> None:
    found = hits(_with(_window(0x8000_0000, 0x9FFF_FFFF)))
    assert found is not None
    (one,) = found.exposed
    assert (one.what, one.ranges, one.doubt) == ("BAR 0", Ranges.of((0x9000_0000, 0x900F_FFFF)), "")
    assert found.unknown == ()


def test_what_the_window_leaves_out() -> None:
    found = hits(_with(_window(0x9008_0000, 0x9FFF_FFFF)))
    assert found is not None
    assert [one.ranges for one in found.exposed] == [Ranges.of((0x9008_0000, 0x900F_FFFF))]
    nothing = hits(_with(_window(0xA000_0000, 0xA00F_FFFF)))
    assert nothing == Exposure((), ())


def test_unassigned_and_input_output_bars() -> None:
    bars = (Bar(0, 0, 0x1000, memory=True), Bar(1, 0x9000_1000, 0x100, memory=False))
    assert hits(_with(_window(0x8000_0000, 0x9FFF_FFFF), Known(bars))) == Exposure((), ()), "none are known"


def test_what_was_hidden() -> None:
    found = hits(_with(Unknown("cut to 64 bytes")))
    assert found is not None
    assert any("cut to 64 bytes" in reason for reason in found.unknown)
    assert found.exposed, "its BARs were read"
    found = hits(_with(Unknown("cut"), Unknown("hidden")))
    assert found is not None
    assert (found.exposed, len(found.unknown)) == ((), 2)
    unsized = hits(_with(_window(0x8000_0000, 0x9FFF_FFFF), Known((replace(_BAR, size=0),))))
    assert unsized is not None
    assert "the size of BAR 0" in unsized.exposed[0].doubt


def test_where_the_kernel_counts_addresses_otherwise() -> None:
    found = hits(_with(_window(0xA000_0000, 0xA00F_FFFF), platform=Platform.ARM))
    assert found is not None
    assert found.exposed[0].ranges == Ranges.of((0xA000_0000, 0xA00F_FFFF)), "where it answers on the bus"
    assert "count addresses otherwise" in found.exposed[0].doubt


def test_a_bridge_of_subtractive_decoding_narrows_nothing() -> None:
    host = _with(_window(0xA000_0000, 0xA00F_FFFF))
    port = replace(host.functions[at("02:01.0")], class_code=0x060401)
    found = hits(replace(host, functions={**host.functions, port.address: port}))
    assert found is not None
    assert found.exposed[0].ranges == Ranges.of((0x9000_0000, 0x900F_FFFF))


def test_nothing_turns() -> None:
    functions: list[Function] = [
        port("00:01.0", 1),
        port("01:00.0", 2, "00:01.0", PortType.UPSTREAM, acs=None),
        *(port(f"02:0{n}.0", 3 + n, "01:00.0", PortType.DOWNSTREAM, acs=CLOSED) for n in range(2)),
        *(endpoint(f"0{3 + n}:00.0", f"02:0{n}.0") for n in range(2)),
    ]
    assert hits(machine(*functions)) is None
