"""What is opened through VFIO, what the kernel finds again, and what the host's drivers switch on."""

from __future__ import annotations

from dataclasses import replace

import pytest
from reach_hosts import CLOSED, Scene, acs, at, change, clusters, endpoint, links, machine, port, scene, slots, switch

from atoll.events.effect import after
from atoll.events.event import Event, EventKind
from atoll.events.trigger import Trigger
from atoll.fabric.settings import Domain, DomainKind
from atoll.host.fact import Known
from atoll.host.model import EndKind, Function, Holder, Platform
from atoll.isolation.clusters import Clusters, Handover
from atoll.isolation.moment import Statement
from atoll.pci.header import Command
from atoll.twin import Twin

TENANT, HOST, MACHINE = Trigger.TENANT, Trigger.HOST, Trigger.MACHINE
SILENT = Known(Command(0))
CARD = "03:00.0"


def kinds(stated: Statement) -> dict[Trigger, list[EventKind]]:
    return {trigger: [event.kind for event in path or ()] for trigger, path in stated.resilience.items()}


def handed(named: Clusters, way: Handover) -> Clusters:
    return replace(named, named=tuple(replace(cluster, handover=way) for cluster in named.named))


def held(functions: list[Function], kind: str, command_line: str = "") -> Scene:
    """A card that a process holds open, whose group's default domain is of this kind."""
    host = machine(*functions, kind=kind, command_line=command_line)
    return scene(replace(host, holders=Known((Holder(7, "qemu", (), (at(CARD),), Known(1)),))))


@pytest.mark.parametrize("way", [Handover.VFIO, Handover.HELD, Handover.KERNEL])
def test_opening_is_what_vfio_makes_of_it(way: Handover) -> None:
    """Where pass-through is the default, a card waits in it to be opened, which puts it into a space of its own."""
    found = scene(machine(*change(switch(CLOSED, CLOSED), CARD, command=SILENT), kind="identity"))
    stated = found.state(handed(clusters(found.host, red=CARD), way))
    assert stated.proof.verdict == "proven"
    assert kinds(stated)[TENANT] == ([EventKind.VFIO_OPEN] if way is Handover.KERNEL else [])


@pytest.mark.parametrize("kind", ["DMA", "identity"])
def test_what_is_found_again_is_in_the_space_that_the_kernel_gives(kind: str) -> None:
    """Whoever held it does no more, and a driver of the host has it: with all memory in reach where that is so."""
    found = held(switch(CLOSED, CLOSED), kind)
    stated = found.state(clusters(found.host, red=CARD))
    assert (stated.proof.verdict, stated.handed_over.verdict) == ("proven", "proven")
    lost = kind == "identity"
    assert kinds(stated) == {
        TENANT: [],
        HOST: [EventKind.REMOVE_RESCAN] if lost else [],
        MACHINE: [EventKind.POWER_LOSS] if lost else [],
    }
    assert stated.unproven == {}


def test_a_type_that_was_written_goes_with_the_group() -> None:
    """Translation was asked for in a group's file, against the command line, which decides about a new group."""
    found = held(switch(CLOSED, CLOSED), "DMA", "iommu=pt")
    stated = found.state(replace(clusters(found.host, red=CARD), survive={MACHINE: 1}))
    assert (stated.proof.verdict, stated.verdict, stated.untold) == ("proven", "unknown", (MACHINE,))
    assert {trigger: path[0].kind for trigger, path in stated.unproven.items()} == {
        HOST: EventKind.REMOVE_RESCAN,
        MACHINE: EventKind.POWER_LOSS,
    }
    assert isinstance(found.host.groups, Known)
    groups = dict(found.host.groups.value)
    last = max(groups)
    groups[last] = replace(groups[last], type=Known("identity"))
    mixed = scene(replace(found.host, groups=Known(groups), command_line=Known("")))
    stated = mixed.state(replace(clusters(mixed.host, red=CARD), survive={MACHINE: 1}))
    assert (stated.verdict, stated.untold) == ("unknown", (MACHINE,)), "which of them the kernel made so, nothing tells"
    plain = held(switch(CLOSED, CLOSED), "DMA", "intel_iommu=on")
    assert plain.state(replace(clusters(plain.host, red=CARD), survive={MACHINE: 1})).verdict == "proven"


def test_an_npu_is_in_bypass_for_what_is_found_again() -> None:
    gpu = endpoint("01:00.0", "00:01.0", ids=(0x10DE, 0x1DB1), class_code=0x030200)
    wires = links("01:00.0", EndKind.CPU, (0, None))
    found = scene(machine(port("00:01.0", 1), gpu, links=wires, platform=Platform.POWERNV))
    used = replace(found.settings, cpu_links={at("01:00.0"): Domain(DomainKind.TRANSLATED, "process 7")})
    event = Event(EventKind.POWER_LOSS, MACHINE, (at("01:00.0"),), None, None)
    assert after(found.topology, used, event).cpu_links[at("01:00.0")].kind is DomainKind.IDENTITY


def test_a_device_of_the_host_that_is_off_is_reached_once_a_driver_takes_it() -> None:
    functions = switch(acs("SV CR UF"), CLOSED, CLOSED)
    found = scene(machine(*change(functions, "04:00.0", command=SILENT)))
    stated = found.state(replace(clusters(found.host, red="03:00.0", blue="05:00.0")))
    assert stated.proof.verdict == "violated", "blue's card answers"
    found = scene(machine(*change(change(functions, "04:00.0", command=SILENT), "05:00.0", command=SILENT)))
    stated = found.state(clusters(found.host, red="03:00.0"))
    assert (stated.proof.verdict, stated.handed_over.verdict) == ("proven", "proven")
    assert kinds(stated) == {TENANT: [], HOST: [EventKind.DRIVER_BIND], MACHINE: [EventKind.POWER_LOSS]}
    path = stated.resilience[HOST]
    assert path is not None
    assert path[0].at == at("04:00.0")


def test_a_device_of_the_host_that_is_off_may_be_reached_once_a_driver_takes_it() -> None:
    """Whether the root complex routes is not told: that none answers there is all that the proof rests on."""
    found = scene(machine(*change(slots(acs("SV CR"), CLOSED), "02:00.0", command=SILENT)))
    stated = found.state(replace(clusters(found.host, red="01:00.0"), survive={HOST: 1}))
    assert (stated.proof.verdict, stated.verdict, stated.untold) == ("proven", "unknown", (HOST,))
    assert {trigger: path[0].kind for trigger, path in stated.unproven.items()} == {
        HOST: EventKind.DRIVER_BIND,
        MACHINE: EventKind.POWER_LOSS,
    }


@pytest.mark.parametrize("event", ["close", "suspend", "reboot"])
def test_what_a_twin_does(event: str) -> None:
    """Held on a machine that starts with ``iommu=pt``: what the twin's traffic shows is what was told."""
    twin, card = Twin.new("dgx1v"), at("05:00.0")
    twin.write(f"sys/bus/pci/devices/{card}/driver/unbind", str(card).encode())
    twin.write(f"sys/bus/pci/devices/{card}/driver_override", b"vfio-pci")
    twin.write("sys/bus/pci/drivers_probe", str(card).encode())
    waiting = scene(twin)
    told = waiting.state(handed(clusters(waiting.host, red="05:00.0"), Handover.VFIO))
    assert told.proof.verdict == "proven"
    twin.event("open", (card,))
    found = scene(twin)
    for stated in (told, found.state(clusters(found.host, red="05:00.0"))):
        assert kinds(stated) == {TENANT: [], HOST: [EventKind.REMOVE_RESCAN], MACHINE: [EventKind.POWER_LOSS]}
    assert not _reaches_memory(twin)
    twin.event(event, (card,) if event == "close" else ())
    assert _reaches_memory(twin) is (event == "reboot")


def _reaches_memory(twin: Twin) -> bool:
    attack = twin.attack(at("05:00.0"), at("02:00.0"))
    return any(attempt.delivered and attempt.path[-1].at == "system memory" for attempt in attack.attempts)
