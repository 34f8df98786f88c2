"""How many events of one trigger open a path."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations, product

import pytest
from reach_hosts import (
    CLOSED,
    Scene,
    acs,
    at,
    change,
    clusters,
    endpoint,
    gpu,
    links,
    machine,
    port,
    scene,
    slots,
    switch,
)

from atoll.events.catalogue import events
from atoll.events.effect import after
from atoll.events.event import EventKind
from atoll.events.trigger import Trigger
from atoll.fabric.settings import Settings
from atoll.fabric.switching import switched_on
from atoll.host.fact import Fact, Known, Unknown
from atoll.host.model import EndKind, KernelRelease, Platform
from atoll.isolation.clusters import Clusters
from atoll.isolation.proof import refuted
from atoll.isolation.reach import Reach
from atoll.isolation.resilience import resilience, what_decides
from atoll.pci.acs import AcsEnhanced
from atoll.pci.address import Address
from atoll.pci.header import Command, PortType

TENANT, HOST, MACHINE = Trigger.TENANT, Trigger.HOST, Trigger.MACHINE


def least(found: Scene, **named: str) -> dict[Trigger, int | None]:
    weakness = found.state(clusters(found.host, **named)).resilience
    return {trigger: None if path is None else len(path) for trigger, path in weakness.items()}


def pair(a: int, b: int, *, joined: bool = True) -> Scene:
    """Two V100 below root ports of their own, one link between them, with these masks."""
    functions = [*slots(CLOSED, CLOSED)[::2], gpu("01:00.0", "00:01.0"), gpu("02:00.0", "00:02.0")]
    wires = links("01:00.0", "02:00.0", (0, 3)) if joined else ()
    told = ("01:00.0", "02:00.0")
    return scene(machine(*functions, links=wires, told=told, masks={"01:00.0": a, "02:00.0": b}))


@pytest.mark.parametrize(
    ("a", "b", "tenant", "machine"),
    [
        (0x10000, 0x80000, 2, 1),  # both ends cut: two tenants have to reset
        (0x10000, 0, 1, 1),
        (0, 0x80000, 1, 1),
        (0, 0, 0, 0),  # open already
    ],
)
def test_ends_that_are_cut(a: int, b: int, tenant: int, machine: int) -> None:
    assert least(pair(a, b), red="01:00.0", blue="02:00.0") == {TENANT: tenant, HOST: tenant, MACHINE: machine}


def test_nothing_joins_them() -> None:
    assert least(pair(0, 0, joined=False), red="01:00.0", blue="02:00.0") == {TENANT: None, HOST: None, MACHINE: None}


def test_no_tenant_resets_the_hosts_end() -> None:
    """The host's own GPU at the other end stays cut whatever the tenant does."""
    assert least(pair(0x10000, 0x80000), red="01:00.0") == {TENANT: None, HOST: 2, MACHINE: 1}
    assert least(pair(0x10000, 0), red="01:00.0")[TENANT] == 1
    assert least(pair(0, 0x80000), red="01:00.0")[TENANT] is None


def test_one_tenant_with_both_ends_is_no_matter() -> None:
    assert least(pair(0, 0), red="01:00.0 02:00.0") == {TENANT: None, HOST: None, MACHINE: None}


def test_a_bridge_above_both_opens_both_at_once() -> None:
    functions = [
        port("00:01.0", 1),
        port("01:00.0", 2, "00:01.0", PortType.UPSTREAM, acs=None),
        *(port(f"02:0{n}.0", 3 + n, "01:00.0", PortType.DOWNSTREAM) for n in range(2)),
        *(gpu(f"0{3 + n}:00.0", f"02:0{n}.0") for n in range(2)),
    ]
    masks = {"03:00.0": 0x10000, "04:00.0": 0x10000}
    found = scene(machine(*functions, links=links("03:00.0", "04:00.0", (0, 0)), masks=masks))
    assert least(found, red="03:00.0", blue="04:00.0") == {TENANT: 2, HOST: 1, MACHINE: 1}


def test_acs_that_the_kernel_would_not_set() -> None:
    """PowerNV asks for no ACS: a port that is reset lets peers through again."""
    functions = [
        port("00:01.0", 1),
        port("01:00.0", 2, "00:01.0", PortType.UPSTREAM, acs=None),
        *(port(f"02:0{n}.0", 3 + n, "01:00.0", PortType.DOWNSTREAM) for n in range(2)),
        *(endpoint(f"0{3 + n}:00.0", f"02:0{n}.0") for n in range(2)),
    ]
    kept = scene(machine(*functions))
    assert least(kept, red="03:00.0", blue="04:00.0") == {TENANT: None, HOST: None, MACHINE: None}
    lost = scene(machine(*functions, platform=Platform.POWERNV))
    assert least(lost, red="03:00.0", blue="04:00.0") == {TENANT: None, HOST: 1, MACHINE: 1}


def test_a_tenants_own_function_loses_its_acs_when_it_is_reset() -> None:
    closed = acs("RR CR", "RR CR")
    functions = [endpoint(f"01:00.{n}", "00:01.0", multifunction=True, acs=closed) for n in range(2)]
    host = machine(port("00:01.0", 1), *functions, platform=Platform.POWERNV)
    assert least(scene(host), red="01:00.0", blue="01:00.1")[TENANT] == 1
    assert least(scene(host), red="01:00.0", blue="01:00.1")[HOST] == 1


def test_interrupts_that_are_not_remapped_need_no_event() -> None:
    host = machine(*slots(CLOSED, CLOSED), remapping=False)
    assert least(scene(host), red="01:00.0") == {TENANT: 0, HOST: 0, MACHINE: 0}


def test_unknown_is_not_violated() -> None:
    """It is reported as unknown; no event makes it a counterexample."""
    host = machine(*slots(CLOSED, CLOSED), remapping=None)
    assert least(scene(host), red="01:00.0") == {TENANT: None, HOST: None, MACHINE: None}


def test_ends_on_switch_chips() -> None:
    """The other end of a path over a chip is cut at a function that no link joins directly."""
    functions = [*slots(CLOSED, CLOSED)[::2], gpu("01:00.0", "00:01.0"), gpu("02:00.0", "00:02.0")]
    wires = (
        *links("01:00.0", EndKind.SWITCH, (0, None), name="nvs0"),
        *links("02:00.0", EndKind.SWITCH, (0, None), name="nvs0"),
    )
    found = scene(machine(*functions, links=wires, masks={"01:00.0": 0x10000, "02:00.0": 0x10000}))
    (deciding,) = what_decides(found.topology, found.settings, at("01:00.0"))
    assert deciding >= {at("02:00.0"), at("00:01.0")}
    assert least(found, red="01:00.0", blue="02:00.0") == {TENANT: 2, HOST: 2, MACHINE: 1}


def test_survival_is_part_of_the_verdict() -> None:
    found = pair(0x10000, 0x80000)
    named = clusters(found.host, red="01:00.0", blue="02:00.0")
    assert found.state(replace(named, survive={TENANT: 1})).verdict == "proven"
    state = found.state(replace(named, survive={TENANT: 2}))
    assert (state.verdict, state.proof.verdict, state.unsurvived) == ("violated", "proven", (TENANT,))
    assert found.state(replace(named, survive={MACHINE: 1})).unsurvived == (MACHINE,)


@pytest.mark.parametrize(
    "command_line",
    [Unknown("not read"), Known("pci=config_acs=0000000@02:00.0"), Known("pci=disable_acs_redir=02:00.0")],
)
def test_what_events_may_leave_open_is_not_survived(command_line: Fact[str]) -> None:
    """What the kernel makes of ACS after a reset is not told: the proof may not hold, and nothing says that it does."""
    found = scene(replace(machine(*switch(CLOSED, CLOSED)), command_line=command_line))
    named = clusters(found.host, red="03:00.0", blue="04:00.0")
    stated = found.state(named)
    assert (stated.verdict, stated.resilience[MACHINE]) == ("proven", None)
    assert {trigger: len(path) for trigger, path in stated.unproven.items()} == {HOST: 1, MACHINE: 1}
    asked = found.state(replace(named, survive={MACHINE: 1}))
    assert (asked.verdict, asked.untold, asked.unsurvived) == ("unknown", (MACHINE,), ())
    assert found.state(replace(named, survive={TENANT: 1})).verdict == "proven"


def test_enhanced_acs_is_not_relied_on_after_a_reset() -> None:
    """The port's own BARs are closed by its enhanced bits only, and its ACS stays as it is."""
    blocking = replace(acs("SV RR CR UF"), enhanced=AcsEnhanced.OWN_BLOCK)
    host = machine(port("00:01.0", 1, acs=blocking, memory=True), endpoint("01:00.0", "00:01.0"))
    stated = scene(host).state(replace(clusters(host, red="01:00.0"), survive={MACHINE: 1}))
    assert (stated.proof.verdict, stated.untold, stated.verdict) == ("proven", (MACHINE,), "unknown")


def test_nothing_is_open_where_the_kernels_policy_is_known() -> None:
    found = scene(machine(*switch(CLOSED, CLOSED)))
    stated = found.state(replace(clusters(found.host, red="03:00.0", blue="04:00.0"), survive={MACHINE: 1}))
    assert (stated.verdict, stated.unproven, stated.untold) == ("proven", {}, ())


@pytest.mark.parametrize(("release", "least"), [((6, 12), None), ((7, 0), 1)])
def test_kernels_leave_broken_source_validation_off(release: tuple[int, int], least: int | None) -> None:
    """``pci_disable_broken_acs_cap``: SV that was set by hand on such a switch is gone after a reset."""
    functions = [
        replace(f, vendor=0x111D, device=0x80B5) if f.port_type == Known(PortType.DOWNSTREAM) else f
        for f in switch(CLOSED, CLOSED)
    ]
    found = scene(replace(machine(*functions), kernel=Known(KernelRelease(*release, "as read"))))
    stated = found.state(clusters(found.host, red="03:00.0", blue="04:00.0"))
    path = stated.resilience[MACHINE]
    assert (None if path is None else len(path)) == least


def brute(found: Scene, named: Clusters, trigger: Trigger, deepest: int) -> int | None:
    """The least number of events by trying all sequences."""
    owners = {cluster.name: cluster.functions for cluster in named.named}
    mine = [e for e in events(found.topology, owners) if e.trigger is trigger and e.kind is not EventKind.HOT_PLUG]
    for count in range(deepest + 1):
        for path in product(mine, repeat=count):
            settings = found.settings
            for event in path:
                settings = after(found.topology, settings, event)
            if refuted(Reach(found.topology, settings), named):
                return count
    return None


@pytest.mark.parametrize("trigger", [TENANT, HOST])
@pytest.mark.parametrize(
    "masks", [(0x30000, 0x10000, 0x20000), (0x10000, 0x20000, 0x30000), (0x30000, 0x30000, 0x30000)]
)
def test_no_shorter_sequence(trigger: Trigger, masks: tuple[int, int, int]) -> None:
    """Three GPUs in a ring, two of one owner: against all sequences of up to two events."""
    places = ("01:00.0", "02:00.0", "03:00.0")
    wires = [
        *links(places[0], places[1], (0, 1)),
        *links(places[1], places[2], (0, 1)),
        *links(places[2], places[0], (0, 1)),
    ]
    mask = dict(zip(places, masks, strict=True))
    found = scene(machine(*(gpu(place) for place in places), links=wires, masks=mask))
    named = clusters(found.host, red="01:00.0 02:00.0", blue="03:00.0")
    assert least(found, red="01:00.0 02:00.0", blue="03:00.0")[trigger] == brute(found, named, trigger, 2)


def test_settings_of_others_do_not_multiply() -> None:
    """Twenty ports with a bit that a reset clears: each is looked at with what matters to it, not with all others."""
    found = scene(machine(*slots(*[acs("SV TB RR CR UF")] * 20)))
    owners = {str(a): (a,) for a in found.topology.endpoints}
    asked = []

    def violated(settings: Settings, source: Address) -> bool:
        asked.append(source)
        return False

    happening = events(found.topology, owners)
    weakness = resilience(found.topology, found.settings, happening, found.topology.endpoints, violated)
    assert weakness == dict.fromkeys(Trigger)
    assert 20 < len(asked) < 20 * 10


def test_ends_on_one_chip_do_not_multiply() -> None:
    """Sixteen GPUs on chips, each cut at its end: a path has two of these ends."""
    places = [f"{bus:02x}:00.0" for bus in range(1, 17)]
    wires = [wire for place in places for wire in links(place, EndKind.SWITCH, (0, None), name=f"nvs{place[1]}")]
    masks = dict.fromkeys(places, 0x10000)
    found = scene(machine(*(gpu(place) for place in places), links=wires, masks=masks))
    asked = []

    def violated(settings: Settings, source: Address) -> bool:
        asked.append(source)
        return False

    happening = events(found.topology, {place: (at(place),) for place in places})
    weakness = resilience(found.topology, found.settings, happening, map(at, places), violated)
    assert weakness == dict.fromkeys(Trigger)
    assert 16 * 15 < len(asked) < 16 * 15 * 3 * 8


@pytest.mark.parametrize("on", list(product((False, True), repeat=3)))
@pytest.mark.parametrize(
    "named", [{"red": "03:00.0", "blue": "04:00.0 05:00.0"}, {"red": "03:00.0"}, {"red": "05:00.0"}]
)
def test_owners_open_what_is_off(on: tuple[bool, ...], named: dict[str, str]) -> None:
    """Nothing redirects, and what hides that is that something is off: against all that can be opened."""
    functions = switch(acs("SV CR UF"), acs("SV CR UF"), CLOSED)
    for n, state in enumerate(on):
        functions = change(
            functions, f"0{3 + n}:00.0", command=Known(Command.MEMORY | Command.MASTER if state else Command(0))
        )
    found = scene(machine(*functions))
    owners = clusters(found.host, **named)
    reached = {
        count
        for count in range(4)
        for opened in combinations(sorted(owners.owner()), count)
        if refuted(Reach(found.topology, switched_on(found.topology, found.settings, opened)), owners)
    }
    assert least(found, **named)[TENANT] == min(reached, default=None)


def test_a_port_that_forwards_nothing_is_opened_with_what_is_below_it() -> None:
    functions = change(switch(acs("SV CR UF"), CLOSED), "02:00.0", command=Known(Command(0)))
    found = scene(machine(*functions))
    named = clusters(found.host, red="03:00.0")
    stated = found.state(replace(named, survive={TENANT: 1}))
    assert (stated.proof.verdict, stated.handed_over.verdict, stated.verdict) == ("proven", "violated", "violated")
    path = stated.resilience[TENANT]
    assert path is not None
    assert [event.name for event in path] == ["vfio-open of 0000:03:00.0"]


def test_drivers_switch_on_what_the_kernel_finds_again() -> None:
    """The host's own do so as well as a tenant's: after a rescan, or when the machine boots."""
    functions = change(switch(acs("SV CR UF"), CLOSED), "03:00.0", command=Known(Command(0)))
    found = scene(machine(*functions))
    stated = found.state(clusters(found.host, red="03:00.0"))
    assert stated.verdict == "proven"
    kinds = {trigger: [event.kind for event in path or ()] for trigger, path in stated.resilience.items()}
    assert kinds[HOST] == [EventKind.REMOVE_RESCAN]
    assert kinds[MACHINE] == [EventKind.POWER_LOSS]


def test_what_is_off_is_counted_as_in_use() -> None:
    """A port that is reset redirects no more; that the device is off now saves nobody for long."""
    functions = change(switch(CLOSED, CLOSED), "03:00.0", command=Known(Command(0)))
    found = scene(machine(*functions, platform=Platform.POWERNV))
    assert least(found, red="03:00.0") == {TENANT: None, HOST: 1, MACHINE: 1}


def test_opening_may_leave_open_what_is_so() -> None:
    """Whether the root complex routes is not told: proven while the device is off, and not a moment longer."""
    functions = change(slots(acs("SV CR"), CLOSED), "01:00.0", command=Known(Command(0)))
    found = scene(machine(*functions))
    stated = found.state(replace(clusters(found.host, red="01:00.0"), survive={TENANT: 1}))
    assert (stated.proof.verdict, stated.verdict, stated.untold) == ("proven", "unknown", (TENANT,))
    assert {trigger: len(path) for trigger, path in stated.unproven.items()} == {TENANT: 1, HOST: 1, MACHINE: 1}


def test_a_cut_that_is_undone_may_leave_open_what_the_far_end_does() -> None:
    """The mask of the other was not read."""
    found = pair(0x10000, 0x80000)
    registers = {key: value for key, value in found.host.registers.items() if key[0] != at("02:00.0")}
    found = scene(replace(found.host, registers=registers))
    stated = found.state(replace(clusters(found.host, red="01:00.0", blue="02:00.0"), survive={TENANT: 1}))
    assert (stated.proof.verdict, stated.verdict, stated.untold) == ("proven", "unknown", (TENANT,))
    assert {trigger: len(path) for trigger, path in stated.unproven.items()} == {TENANT: 1, HOST: 1}
    assert {trigger: len(path or ()) for trigger, path in stated.resilience.items()} == {TENANT: 2, HOST: 2, MACHINE: 1}


def test_a_cut_that_is_undone_may_lead_to_another_chip() -> None:
    """Two switch chips: whether they are joined, no source told."""
    functions = [*slots(CLOSED, CLOSED)[::2], gpu("01:00.0", "00:01.0"), gpu("02:00.0", "00:02.0")]
    wires = [links(f"0{n}:00.0", EndKind.SWITCH, (0, None), name=f"nvs{n}") for n in (1, 2)]
    found = scene(machine(*functions, links=(*wires[0], *wires[1]), masks={"01:00.0": 0x10000}))
    stated = found.state(replace(clusters(found.host, red="01:00.0", blue="02:00.0"), survive={TENANT: 1}))
    assert (stated.proof.verdict, stated.verdict, stated.untold) == ("proven", "unknown", (TENANT,))


def test_what_a_proof_has_shown_is_not_asked_again() -> None:
    found = pair(0x10000, 0x80000)
    asked = []

    def violated(reached: Settings, source: Address) -> bool:
        asked.append(reached)
        return False

    for already, expected in ((None, True), (False, False), (True, False)):
        asked.clear()
        weakness = resilience(found.topology, found.settings, (), (at("01:00.0"),), violated, already=already)
        assert weakness == dict.fromkeys(Trigger, () if already else None)
        assert any(reached is found.settings for reached in asked) is expected
