"""What can happen to a host, by whom, and what it hits."""

from __future__ import annotations

from dataclasses import replace

import pytest
from reach_hosts import at, endpoint, machine, scene, switch

from atoll.events.catalogue import events, reset_kinds
from atoll.events.event import Event, EventKind
from atoll.events.reset import ResetKind, kind_of_method
from atoll.events.trigger import Trigger
from atoll.host.fact import Known, Unknown

RED, BLUE = at("03:00.0"), at("04:00.0")


@pytest.mark.parametrize(
    ("methods", "expected"),
    [
        (("flr", "bus"), (ResetKind.FLR, ResetKind.BUS)),
        (("af_flr", "pm"), (ResetKind.FLR, ResetKind.PM)),
        (("cxl_bus", "bus"), (ResetKind.BUS,)),
        (("device_specific",), (ResetKind.BUS,)),
        (("acpi", "flr"), (ResetKind.BUS, ResetKind.FLR)),
        (("a method to come",), (ResetKind.BUS,)),
        ((), (ResetKind.BUS,)),
    ],
)
def test_kinds_of_reset(methods: tuple[str, ...], expected: tuple[ResetKind, ...]) -> None:
    assert reset_kinds(endpoint("01:00.0", methods=methods)) == expected


def test_where_methods_were_not_read_the_kind_that_undoes_most_is_taken() -> None:
    assert reset_kinds(replace(endpoint("01:00.0"), reset_methods=Unknown("old"))) == (ResetKind.BUS,)
    assert kind_of_method("flr") is ResetKind.FLR


def happening(owners: dict[str, tuple[str, ...]]) -> tuple[Event, ...]:
    functions = [replace(f, reset_methods=Known(("flr",))) for f in switch(None, None)]
    named = {name: tuple(map(at, places)) for name, places in owners.items()}
    return events(scene(machine(*functions)).topology, named)


def test_tenants_reset_their_own_devices_only() -> None:
    found = [e for e in happening({"red": ("03:00.0",)}) if e.trigger is Trigger.TENANT]
    assert {(e.kind, e.scope, e.resets) for e in found} == {
        (EventKind.GUEST_RESET, (RED,), ResetKind.FLR),
        (EventKind.VFIO_CLOSE, (RED,), ResetKind.BUS),
        (EventKind.GUEST_REBOOT, (RED,), ResetKind.FLR),
    }


def test_a_reboot_hits_all_devices_of_a_guest_at_once() -> None:
    found = happening({"red": ("04:00.0", "03:00.0")})
    assert [e.scope for e in found if e.kind is EventKind.GUEST_REBOOT] == [(RED, BLUE)]
    assert {e.scope for e in found if e.kind is EventKind.VFIO_CLOSE} == {(RED,), (BLUE,)}


def test_the_host_resets_what_is_below_a_port() -> None:
    found = happening({})
    below = {e.at: e.scope for e in found if e.kind is EventKind.SUBORDINATE_RESET}
    assert below[at("00:01.0")] == tuple(map(at, ("01:00.0", "02:00.0", "02:01.0", "03:00.0", "04:00.0")))
    assert below[at("02:00.0")] == (RED,)
    again = {e.at: e.scope for e in found if e.kind is EventKind.REMOVE_RESCAN}
    assert again[at("02:00.0")] == (at("02:00.0"), RED)
    assert not [e for e in found if e.trigger is Trigger.TENANT]


def test_the_machine_loses_power_everywhere() -> None:
    found = {e.kind: e for e in happening({}) if e.kind in (EventKind.SUSPEND, EventKind.POWER_LOSS)}
    assert len(found) == 2
    for event in found.values():
        assert (event.trigger, event.resets, len(event.scope)) == (Trigger.MACHINE, ResetKind.POWER, 6)
    assert found[EventKind.SUSPEND].name == "suspend"


def test_every_kind_but_opening_is_in_it() -> None:
    """Opening is part of the hand-over: a holder that opens cuts afterwards."""
    kinds = {e.kind for e in happening({"red": ("03:00.0",)})}
    assert kinds == set(EventKind) - {EventKind.VFIO_OPEN}


def test_an_empty_host_has_no_events() -> None:
    assert events(scene(machine()).topology, {}) == ()
