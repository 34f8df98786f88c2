"""ACS of devices themselves: what resets and error recovery leave of it."""

from __future__ import annotations

from dataclasses import replace

import pytest
from reach_hosts import CLOSED, Scene, acs, at, change, clusters, endpoint, machine, port, scene, switch

from atoll.events.event import EventKind
from atoll.events.trigger import Trigger
from atoll.host.fact import Known
from atoll.pci.acs import Acs

TENANT, HOST, MACHINE = Trigger.TENANT, Trigger.HOST, Trigger.MACHINE
REDIRECTING = acs("RR CR", "RR CR")


def virtual(own: Acs | None, physical: Acs = REDIRECTING) -> Scene:
    """Two virtual functions of one of the host's devices."""
    functions = [port("00:01.0", 1), endpoint("01:00.0", "00:01.0", acs=physical)]
    functions += [endpoint(f"01:00.{n}", "00:01.0", acs=own, physical="01:00.0", memory=False) for n in (1, 2)]
    return scene(machine(*functions))


@pytest.mark.parametrize(("own", "broken"), [(REDIRECTING, True), (acs("", ""), False), (None, False)])
def test_a_physical_function_takes_its_virtual_ones_with_it(own: Acs | None, broken: bool) -> None:
    """Their ACS is zero then: the kernel saves and restores what it was told to reset, and that alone."""
    found = virtual(own)
    stated = found.state(clusters(found.host, red="01:00.1", blue="01:00.2"))
    assert stated.proof.verdict == "proven"
    path = stated.resilience[HOST]
    assert [(event.kind, event.at) for event in path or ()] == (
        [(EventKind.FUNCTION_RESET, at("01:00.0"))] if broken else []
    )
    assert stated.resilience[TENANT] is None, "a virtual function that is reset has the kernel's policy again"


def test_what_error_recovery_leaves_of_a_device_is_not_told() -> None:
    functions = [endpoint(f"01:00.{n}", "00:01.0", multifunction=True, acs=REDIRECTING) for n in range(2)]
    found = scene(machine(port("00:01.0", 1), *functions))
    stated = found.state(replace(clusters(found.host, red="01:00.0", blue="01:00.1"), survive={MACHINE: 1}))
    assert (stated.proof.verdict, stated.verdict, stated.untold) == ("proven", "unknown", (MACHINE,))
    assert [event.kind for event in stated.unproven[MACHINE]] == [EventKind.ERROR_RECOVERY]
    assert set(stated.unproven) == {MACHINE}


@pytest.mark.parametrize(("driver", "told"), [("pcieport", True), (None, False), ("vfio-pci", False)])
def test_ports_are_restored_by_their_driver(driver: str | None, told: bool) -> None:
    found = scene(machine(*change(switch(CLOSED, CLOSED), "02:00.0", driver=Known(driver))))
    stated = found.state(clusters(found.host, red="03:00.0", blue="04:00.0"))
    assert stated.proof.verdict == "proven"
    assert [event.kind for event in stated.unproven.get(MACHINE, ())] == ([] if told else [EventKind.ERROR_RECOVERY])
