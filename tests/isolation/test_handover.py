"""The moment when devices have reached their users."""

from __future__ import annotations

from dataclasses import replace

import pytest
from reach_hosts import (
    CLOSED,
    Scene,
    acs,
    at,
    clusters,
    endpoint,
    flags,
    gpu,
    links,
    machine,
    port,
    scene,
    slots,
    switch,
)

from atoll.fabric.settings import DomainKind, Settings
from atoll.host.fact import Known, Unknown
from atoll.host.model import EndKind, Holder, Platform
from atoll.isolation.clusters import HOST, Cluster, Clusters, Handover
from atoll.isolation.handover import handed_over, links_to_cut
from atoll.isolation.proof import Verdict
from atoll.pci.acs import Acs
from atoll.pci.ats import Ats
from atoll.pci.bar import Bar
from atoll.pci.bridge import Bridge, Window
from atoll.pci.header import Command
from atoll.twin import Twin

A, B, C = at("01:00.0"), at("02:00.0"), at("03:00.0")
ON = Command.MEMORY | Command.MASTER
WIRES = (
    *links("01:00.0", "02:00.0", (0, 3)),
    *links("01:00.0", "03:00.0", (1, 1)),
    *links("01:00.0", EndKind.CPU, (2, 0)),
)


def gpus(*, held: bool = False, a: int = 0x10000, b: int = 0x80000) -> Scene:
    functions = [*slots(CLOSED, CLOSED, CLOSED)[::2], *(gpu(f"0{n}:00.0", f"00:0{n}.0") for n in (1, 2, 3))]
    host = machine(*functions, links=WIRES, masks={"01:00.0": a, "02:00.0": b}, kind="identity")
    holders = (Holder(7, "atoll-hold:red", (), (A,), Known(1)),) if held else ()
    return scene(replace(host, holders=Known(holders)))


def over(found: Scene, how: Handover, driver: str = "vfio-pci", *, allow_assumed: bool = False) -> Settings:
    named = (Cluster("red", (A,), how, driver), Cluster("blue", (B,), how, driver))
    return handed_over(found.topology, found.settings, Clusters(named, allow_assumed=allow_assumed))


def test_stock_vfio_loses_what_a_bus_reset_undoes() -> None:
    assert over(gpus(), Handover.VFIO).cut == {A: frozenset(), B: frozenset(), C: frozenset()}


def test_stock_vfio_keeps_what_a_function_reset_leaves() -> None:
    found = gpus()
    flr = {a: replace(f, reset_methods=Known(("flr", "bus"))) for a, f in found.host.functions.items()}
    kept = scene(replace(found.host, functions=flr))
    assert over(kept, Handover.VFIO).cut[A] == frozenset({0})


@pytest.mark.parametrize("how", [Handover.HELD, Handover.BROKER])
def test_a_holder_cuts_after_it_has_opened(how: Handover) -> None:
    """All links to others and none else, whatever was cut before."""
    reached = over(gpus(a=0x3F0000, b=0), how)
    assert reached.cut == {A: frozenset({0, 1}), B: frozenset({3}), C: frozenset()}


def test_a_device_that_is_held_stays_as_it_is() -> None:
    assert over(gpus(held=True, a=0x20000), Handover.HELD).cut[A] == frozenset({1})
    assert over(gpus(held=True, a=0x20000), Handover.VFIO).cut[A] == frozenset(), "a VMM resets it all the same"


def test_a_host_driver_gets_what_closing_left() -> None:
    assert over(gpus(held=True, a=0x10000), Handover.KERNEL, "nvidia").cut[A] == frozenset()
    assert over(gpus(a=0x10000), Handover.KERNEL, "nvidia").cut[A] == frozenset({0}), "nobody has to close it"


def test_owners_switch_their_devices_on_and_have_address_spaces_of_their_own() -> None:
    found = gpus()
    quiet = replace(found, settings=replace(found.settings, command={A: Command(0), B: None, C: Command(0)}))
    reached = over(quiet, Handover.HELD)
    assert reached.command == {A: ON, B: ON, C: Command(0), at("00:01.0"): ON, at("00:02.0"): ON}
    assert reached.domain[A].kind is reached.domain[B].kind is DomainKind.TRANSLATED
    assert reached.domain[A].space != reached.domain[B].space
    assert reached.domain[C] == found.settings.domain[C]


@pytest.mark.parametrize("how", [Handover.HELD, Handover.VFIO, Handover.KERNEL])
def test_enabling_a_device_enables_the_bridges_above_it(how: Handover) -> None:
    """Ports that forward nothing now hide that nothing redirects below them: once their devices run, they forward."""
    functions = [replace(f, command=Known(Command(0))) for f in switch(acs("SV CR UF"), acs("SV CR UF"))]
    found = scene(machine(*functions))
    named = Clusters((Cluster("red", (at("03:00.0"),), how), Cluster("blue", (at("04:00.0"),), how)))
    reached = handed_over(found.topology, found.settings, named)
    assert set(reached.command.values()) == {ON}
    stated = found.state(named)
    assert stated.proof.verdict is Verdict.PROVEN, "now nothing passes"
    assert stated.handed_over.verdict is Verdict.VIOLATED


def test_what_no_iommu_translates_for_is_not_translated_by_giving_it_away() -> None:
    functions = slots(CLOSED, CLOSED)
    bare = scene(machine(functions[0], replace(functions[1], group=Known(None)), *functions[2:]))
    reached = handed_over(bare.topology, bare.settings, clusters(bare.host, red="01:00.0", blue="02:00.0"))
    assert (reached.domain[A].kind, reached.domain[B].kind) == (DomainKind.NONE, DomainKind.TRANSLATED)
    host = machine(*functions)
    assert isinstance(host.groups, Known)
    groups = {n: replace(g, name="vfio-noiommu" if A in g.members else None) for n, g in host.groups.value.items()}
    unsafe = scene(replace(host, groups=Known(groups)))
    reached = handed_over(unsafe.topology, unsafe.settings, clusters(unsafe.host, red="01:00.0", blue="02:00.0"))
    assert (reached.domain[A].kind, reached.domain[B].kind) == (DomainKind.NONE, DomainKind.TRANSLATED)


@pytest.mark.parametrize(
    ("group", "kind"),
    [(None, DomainKind.NONE), (Unknown("not read"), DomainKind.UNKNOWN), (7, DomainKind.TRANSLATED)],
)
def test_what_no_iommu_serves_has_no_address_space_of_its_own(group: int | Unknown | None, kind: DomainKind) -> None:
    """VFIO opens a group, and makes one up (no-IOMMU mode) or has none where no IOMMU made it."""
    functions = slots(CLOSED, CLOSED)
    functions[1] = replace(functions[1], group=group if isinstance(group, Unknown) else Known(group))
    found = scene(machine(*functions))
    reached = over(found, Handover.HELD)
    assert reached.domain[A].kind is kind
    assert reached.domain[B].kind is DomainKind.TRANSLATED
    named = Clusters((Cluster("red", (A,), Handover.HELD), Cluster("blue", (B,), Handover.HELD)))
    verdicts = {DomainKind.NONE: "violated", DomainKind.UNKNOWN: "unknown", DomainKind.TRANSLATED: "proven"}
    assert found.state(named).handed_over.verdict == verdicts[kind]


@pytest.mark.parametrize(
    ("platform", "kind", "command_line", "on"),
    [
        (Platform.X86, "DMA", "", False),
        (Platform.X86, "identity", "", False),
        (Platform.X86, "blocked", "", None),
        (Platform.ARM, "DMA-FQ", "", False),
        (Platform.ARM, "identity", "iommu.passthrough=1", None),
        (Platform.ARM, "identity", "quiet pci=realloc,noats", False),
        (Platform.ARM, "identity", "other=noats", None),
        (Platform.ARM, "identity", "quiet -- pci=noats", None),
        (Platform.ARM, "identity", 'dyndbg="+p pci=noats "', None),
        (Platform.ARM, "identity", 'pci="realloc,noats"', False),
        (Platform.POWERNV, "identity", "", False),
    ],
)
def test_ats_that_is_off_may_come_with_the_address_space(
    platform: Platform, kind: str, command_line: str, on: bool | None
) -> None:
    functions = slots(CLOSED, CLOSED)
    functions[1] = replace(functions[1], ats=Known(Ats(False, 0x1B0)))
    found = scene(machine(*functions, platform=platform, kind=kind, command_line=command_line))
    assert over(found, Handover.HELD).ats == {A: on}
    assert over(found, Handover.KERNEL, "nvidia").ats == {A: False}


def test_a_host_driver_gets_the_default_domain_and_no_reset() -> None:
    reached = over(gpus(), Handover.KERNEL, "nvidia")
    assert reached.domain[A].kind is DomainKind.IDENTITY
    assert reached.cut[A] == frozenset({0})


def test_a_control_that_is_only_assumed_is_used_when_allowed() -> None:
    pascal = [endpoint(f"0{n}:00.0", ids=(0x10DE, 0x15F9), methods=("bus",)) for n in (1, 2)]
    found = scene(machine(*pascal, links=links("01:00.0", "02:00.0", (0, 3))))
    assert over(found, Handover.HELD).cut[A] == frozenset()
    assert over(found, Handover.HELD, allow_assumed=True).cut[A] == frozenset({0})


# -- which links must be cut


def to_cut(found: Scene, place: str, **named: str) -> set[int]:
    owner = clusters(found.host, **named).cluster_of(found.topology.functions)
    return set(links_to_cut(found.topology, owner, at(place)))


def test_links_to_others_at_both_ends_also_the_hosts() -> None:
    assert to_cut(gpus(), "01:00.0", red="01:00.0", blue="02:00.0") == {0, 1}
    assert to_cut(gpus(), "02:00.0", red="01:00.0", blue="02:00.0") == {3}
    assert to_cut(gpus(), "03:00.0", red="01:00.0", blue="02:00.0") == {1}, "the host's end of a tenant's link"
    assert to_cut(gpus(), "01:00.0", red="01:00.0 02:00.0") == {1}
    assert to_cut(gpus(), "03:00.0", red="02:00.0") == set(), "no link of the host's own"


@pytest.mark.parametrize("kind", [EndKind.UNKNOWN, EndKind.OUTSIDE])
def test_links_that_lead_who_knows_where(kind: EndKind) -> None:
    found = scene(machine(gpu("01:00.0"), gpu("02:00.0"), links=links("01:00.0", kind, (4, None))))
    assert to_cut(found, "01:00.0", red="01:00.0") == {4}
    assert to_cut(found, "01:00.0", red="02:00.0") == set(), f"the {HOST} may have what it likes"


def test_links_to_a_switch_count_where_others_hang_on_one() -> None:
    one = links("01:00.0", EndKind.SWITCH, (0, None), (1, None), name="nvs0")
    two = links("02:00.0", EndKind.SWITCH, (0, None), name="nvs0")
    alone = scene(machine(gpu("01:00.0"), gpu("02:00.0"), links=one, told=("01:00.0", "02:00.0")))
    assert to_cut(alone, "01:00.0", red="01:00.0") == set()
    untold = scene(machine(gpu("01:00.0"), gpu("02:00.0"), links=one))
    assert to_cut(untold, "01:00.0", red="01:00.0") == {0, 1}, "nothing tells that the other does not hang on it"
    both = scene(machine(gpu("01:00.0"), gpu("02:00.0"), links=(*one, *two)))
    assert to_cut(both, "01:00.0", red="01:00.0", blue="02:00.0") == {0, 1}
    assert to_cut(both, "01:00.0", red="01:00.0 02:00.0") == set()


def test_a_link_without_a_number_can_be_named_to_no_control() -> None:
    found = scene(machine(gpu("01:00.0"), gpu("02:00.0"), links=links("01:00.0", "02:00.0", (None, 5))))
    assert to_cut(found, "01:00.0", red="01:00.0") == set()
    assert to_cut(found, "02:00.0", red="01:00.0") == {5}


@pytest.mark.parametrize(
    ("name", "own", "masks"),
    [
        ("ac922-4gpu", "red blue green gold", "0x150000 0x150000 0x150000 0x150000"),
        ("ac922-6gpu", "a b c d e f", "0x1d0000 0x1d0000 0x170000 0x1d0000 0x1d0000 0x170000"),
        ("ac922-6gpu", "a b b c d d", "0x1d0000 0x110000 0x120000 0x1d0000 0x110000 0x120000"),
        ("ac922-6gpu", "a a a b b b", "0x0 0x0 0x0 0x0 0x0 0x0"),
        ("ac922-6gpu", "a host host host host host", "0x1d0000 0x110000 0x120000 0x0 0x0 0x0"),
    ],
)
def test_masks_of_the_machines_of_2019(name: str, own: str, masks: str) -> None:
    """Facts E.3: full isolation, and the first alone with the other two together."""
    found = scene(Twin.new(name))
    every = [a for a, f in found.topology.functions.items() if f.device == 0x1DB1]
    owner = dict(zip(every, own.split(), strict=True))
    named = Clusters(
        tuple(Cluster(c, tuple(a for a in every if owner[a] == c)) for c in dict.fromkeys(own.split()) if c != HOST)
    )
    of = named.cluster_of(found.topology.functions)
    numbers = [links_to_cut(found.topology, of, a) for a in every]
    assert [hex(sum(1 << 16 + n for n in cut)) for cut in numbers] == masks.split()


@pytest.mark.parametrize(
    ("word", "fields", "left"),
    [
        (acs("RR CR DT", "RR CR DT"), {}, "RR CR DT"),
        (acs("RR CR", "RR CR"), {"platform": Platform.POWERNV}, ""),
        (acs("", "RR CR"), {}, ""),
        (acs("RR EC", "RR EC", vector=0xFF), {}, None),
        (acs("RR CR", "RR CR"), {"command_line": Unknown("not read")}, None),
    ],
)
@pytest.mark.parametrize("how", [Handover.VFIO, Handover.HELD])
def test_a_reset_leaves_of_a_devices_own_acs_what_the_kernel_does(
    how: Handover, word: Acs, fields: dict[str, object], left: str | None
) -> None:
    """VFIO resets what it opens, and the kernel sets its policy then; nothing is relied on to be closed by it."""
    host = machine(*slots(CLOSED, CLOSED)[::2], *(endpoint(f"0{n}:00.0", f"00:0{n}.0", acs=word) for n in (1, 2)))
    found = scene(replace(host, **fields))  # type: ignore[arg-type]
    assert over(found, how).acs[A] == (None if left is None else flags(left))
    assert over(found, Handover.KERNEL, "nic").acs[A] == word.control


def test_two_functions_of_a_card_are_open_to_each_other_once_they_are_opened() -> None:
    """PowerNV asks for no ACS: what was set by hand is gone with the first reset."""
    functions = [endpoint(f"01:00.{n}", "00:01.0", multifunction=True, acs=acs("RR CR", "RR CR")) for n in range(2)]
    host = machine(port("00:01.0", 1), *functions, platform=Platform.POWERNV)
    stated = scene(host).state(clusters(host, red="01:00.0", blue="01:00.1"))
    assert (stated.proof.verdict, stated.handed_over.verdict) == ("proven", "violated")


def test_owners_have_their_devices_answer_io_requests_too() -> None:
    """Its driver switches on whatever kind of BAR a card has (``pci_enable_resources``)."""
    functions = switch(acs("SV CR UF"), CLOSED)
    bars = (Bar(0, 0xE000, 0x100, memory=False),)
    functions[-1] = replace(functions[-1], bars=Known(bars), rom=Known(None), command=Known(Command.MASTER))
    above = functions[-2]
    window = Window(0xE000, 0xEFFF, memory=False)
    functions[-2] = replace(above, bridge=Known(Bridge(4, 4, (window,), vga=False)))
    found = scene(machine(*functions))
    stated = found.state(clusters(found.host, red="03:00.0", blue="04:00.0"))
    assert stated.proof.verdict is Verdict.PROVEN
    assert stated.handed_over.verdict is Verdict.UNKNOWN
    assert {(str(v.source), v.target) for v in stated.handed_over.unknown} == {("0000:03:00.0", "0000:04:00.0")}
