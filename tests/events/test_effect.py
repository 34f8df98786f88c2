"""What an event leaves of the settings."""

from __future__ import annotations

from dataclasses import replace

import pytest
from reach_hosts import ALL, Scene, acs, at, endpoint, flags, gpu, links, machine, port, scene

from atoll.events.effect import after, reset_functions
from atoll.events.event import Event, EventKind
from atoll.events.reset import ResetKind
from atoll.events.trigger import Trigger
from atoll.fabric.settings import Settings
from atoll.host.fact import Unknown
from atoll.host.model import Platform
from atoll.pci.acs import AcsEnhanced, AcsFlag
from atoll.twin import Twin

PORT, GPU, PEER = at("00:01.0"), at("01:00.0"), at("02:00.0")


def wired(**host_fields: object) -> Scene:
    """A port with much set above one of two GPUs that are cut from each other."""
    host = machine(
        port("00:01.0", 1, acs=acs("SV TB RR CR UF DT")),
        gpu("01:00.0", "00:01.0"),
        gpu("02:00.0"),
        links=links("01:00.0", "02:00.0", (0, 0)),
        masks={"01:00.0": 0x10000, "02:00.0": 0x10000},
    )
    return scene(replace(host, **host_fields))  # type: ignore[arg-type]


def happen(
    found: Scene, kind: EventKind, resets: ResetKind | None, *scope: str, trigger: Trigger = Trigger.HOST
) -> Settings:
    places = tuple(map(at, scope))
    return after(found.topology, found.settings, Event(kind, trigger, places, places[0], resets))


@pytest.mark.parametrize(
    ("resets", "cut"),
    [
        (ResetKind.BUS, frozenset[int]()),
        (ResetKind.POWER, frozenset[int]()),
        (ResetKind.FLR, frozenset({0})),
        (ResetKind.PM, frozenset({0})),
    ],
)
def test_a_reset_opens_links_of_what_it_hits(resets: ResetKind, cut: frozenset[int]) -> None:
    found = happen(wired(), EventKind.GUEST_RESET, resets, "01:00.0")
    assert found.cut == {GPU: cut, PEER: frozenset({0})}


def test_an_unread_mask_is_known_after_a_bus_reset() -> None:
    found = scene(replace(wired().host, registers={}))
    assert found.settings.cut[GPU] is None
    assert happen(found, EventKind.GUEST_RESET, ResetKind.BUS, "01:00.0").cut[GPU] == frozenset()


@pytest.mark.parametrize("kind", [EventKind.SUBORDINATE_RESET, EventKind.ERROR_RECOVERY, EventKind.SUSPEND])
def test_a_port_that_is_reset_comes_back_with_the_kernels_policy(kind: EventKind) -> None:
    found = happen(wired(), kind, ResetKind.BUS, "00:01.0", "01:00.0")
    assert found.acs == {PORT: flags("SV RR CR UF")}, "translation blocking is gone, and so is direct translation"
    bare = happen(wired(platform=Platform.POWERNV), kind, ResetKind.BUS, "00:01.0", "01:00.0")
    assert bare.acs == {PORT: AcsFlag(0)}, "nobody asks for ACS there"


def test_enhanced_bits_are_not_relied_on_after_a_reset() -> None:
    better = replace(acs("SV RR CR UF"), enhanced=AcsEnhanced.OWN_REDIRECT)
    found = scene(machine(port("00:01.0", 1, acs=better), endpoint("01:00.0", "00:01.0")))
    assert found.settings.enhanced == {PORT: AcsEnhanced.OWN_REDIRECT}
    assert happen(found, EventKind.SUSPEND, ResetKind.BUS, "00:01.0", "01:00.0").enhanced == {}
    assert happen(found, EventKind.FUNCTION_RESET, ResetKind.FLR, "01:00.0").enhanced == found.settings.enhanced


@pytest.mark.parametrize("kind", [EventKind.FUNCTION_RESET, EventKind.GUEST_RESET])
def test_a_function_that_is_reset_comes_back_with_the_kernels_policy(kind: EventKind) -> None:
    """``pci_restore_state`` restores policy, not the word of before: whoever asked for the reset."""
    host = machine(endpoint("01:00.0", acs=acs("RR CR DT", ALL), multifunction=True))
    bare = scene(replace(host, platform=Platform.POWERNV))
    assert happen(bare, kind, ResetKind.FLR, "01:00.0").acs == {GPU: AcsFlag(0)}
    assert happen(scene(host), kind, ResetKind.FLR, "01:00.0").acs == {GPU: flags("SV RR CR UF")}


@pytest.mark.parametrize("kind", [EventKind.PORT_REBIND, EventKind.REMOVE_RESCAN])
def test_a_port_that_is_found_or_bound_again_has_the_policy_added(kind: EventKind) -> None:
    opened = wired()
    opened = replace(opened, settings=opened.settings.with_acs(PORT, flags("TB DT")))
    assert happen(opened, kind, None, "00:01.0").acs == {PORT: flags("SV TB RR CR UF DT")}
    assert happen(opened, kind, None, "00:01.0").cut == opened.settings.cut


@pytest.mark.parametrize("kind", [EventKind.SUBORDINATE_RESET, EventKind.PORT_REBIND])
def test_a_policy_that_cannot_be_told_is_unknown(kind: EventKind) -> None:
    found = wired(command_line=Unknown("not captured"))
    resets = ResetKind.BUS if kind is EventKind.SUBORDINATE_RESET else None
    assert happen(found, kind, resets, "00:01.0").acs == {PORT: None}


def test_an_unread_control_word_stays_unread_when_something_is_added() -> None:
    found = wired()
    unread = replace(found, settings=replace(found.settings, acs={PORT: None}))
    assert happen(unread, EventKind.PORT_REBIND, None, "00:01.0").acs == {PORT: None}
    assert happen(unread, EventKind.SUSPEND, ResetKind.POWER, "00:01.0").acs == {PORT: flags("SV RR CR UF")}


def test_command_registers_and_address_spaces_stay() -> None:
    found = wired()
    reached = happen(found, EventKind.SUSPEND, ResetKind.POWER, "00:01.0", "01:00.0", "02:00.0")
    assert (reached.command, reached.domain) == (found.settings.command, found.settings.domain)


def test_a_kernel_that_cuts_does_so_right_below_the_port_that_is_reset() -> None:
    twin = Twin.new("ac922-4gpu", kernel="5.4-isolate")
    found = scene(twin)
    one = at("0004:04:00.0")
    above = found.topology.up(one)
    opened = replace(found, settings=found.settings.with_cut(one, frozenset()))

    def cut_after(kind: ResetKind, bridge: int | None) -> frozenset[int] | None:
        at_port = None if bridge is None else above[bridge]
        return reset_functions(opened.topology, opened.settings, (one,), kind, bridge=at_port).cut[one]

    assert cut_after(ResetKind.BUS, None) == frozenset({0, 2, 4})
    assert cut_after(ResetKind.BUS, 0) == frozenset({0, 2, 4})
    assert cut_after(ResetKind.BUS, 1) == frozenset()
    assert cut_after(ResetKind.POWER, None) == frozenset()


@pytest.mark.parametrize("name", ["ac922-4gpu", "dgx1v"])
def test_a_bus_reset_and_a_suspend_on_the_twin_leave_what_is_foretold(name: str) -> None:
    for kind in ("reset", "suspend"):
        twin = Twin.new(name)
        gpus = [a for a, f in scene(twin).topology.functions.items() if f.device == 0x1DB1]
        for one in gpus:
            for offset, value in ((0x12004C, 4), (0x122204, 2), (0xA00148, 0x150000)):
                if offset == 0xA00148:
                    twin.poke(one, "bar0", 0x200, twin.peek(one, "bar0", 0x200) | 0x2000000)
                twin.poke(one, "bar0", offset, value)
        before = scene(twin)
        assert all(before.settings.cut[one] == frozenset({0, 2, 4}) for one in gpus)
        if kind == "reset":
            twin.reset(gpus[0], "bus")
            event = Event(EventKind.FUNCTION_RESET, Trigger.HOST, (gpus[0],), gpus[0], ResetKind.BUS)
        else:
            twin.event("suspend")
            event = Event(EventKind.SUSPEND, Trigger.MACHINE, tuple(before.topology.functions), None, ResetKind.POWER)
        foretold, found = after(before.topology, before.settings, event), scene(twin).settings
        assert foretold.cut == found.cut
        assert foretold.acs == found.acs
