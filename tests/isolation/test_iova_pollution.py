"""Pollution: on handmade hosts what the rules say, on twins what their traffic does."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
from groups_hosts import ACS_OFF, ACS_ON, at, function, host, port

from atoll.controls.present import present
from atoll.fabric.answer import Answer, Policy
from atoll.fabric.topology import Topology
from atoll.host import read_host
from atoll.host.fact import Known, Unknown
from atoll.host.model import UNTOLD_CLASS, Bar, Function, Host, Platform, Rom, RootRouting, Sriov, Window
from atoll.isolation.clusters import Cluster, Clusters
from atoll.isolation.iova.conflicts import Conflict, ConflictKind
from atoll.isolation.iova.layout import GIBIBYTE, Guest, Machine
from atoll.isolation.iova.pollution import Claim, Fate, Polluter, Pollution
from atoll.isolation.iova.ranges import Ranges
from atoll.isolation.iova.survey import survey
from atoll.pci.acs import Acs, AcsEnhanced, AcsFlag
from atoll.pci.address import Address
from atoll.pci.header import Command, PortType
from atoll.twin import Attempt, Twin
from atoll.twin.iommu import Iommu
from atoll.twin.traffic import Kind, Packet, Router

ON = Known(Command.MEMORY | Command.MASTER)
RED, BLUE = "03:00.0", "04:00.0"
RED_PORT, BLUE_PORT, ROOT, TOP = "02:00.0", "02:01.0", "00:01.0", "01:00.0"
MIB = 1 << 20


def windowed(bridge: Function, start: int, end: int) -> Function:
    numbers = bridge.bridge
    assert isinstance(numbers, Known)
    assert numbers.value is not None
    window = Window(start, end, memory=True)
    io = Window(start >> 16, end >> 16, memory=False)
    return replace(bridge, bridge=Known(replace(numbers.value, windows=(io, window))), command=ON, bars=Known(()))


def card(place: str, above: str, start: int, size: int = MIB) -> Function:
    return replace(function(place, above), bars=Known((Bar(0, start, size, memory=True),)), command=ON)


def box(
    *,
    red: Acs | Unknown | None = ACS_ON,
    root: Acs | Unknown | None = ACS_ON,
    base: int = 0x80000000,
    extra: tuple[Function, ...] = (),
) -> Host:
    """A switch with two ports below a root port: 16 MiB from ``base``, 4 MiB a port, a 1 MiB BAR behind each."""
    ports = PortType.DOWNSTREAM
    return host(
        [
            windowed(port(ROOT, 1, acs=root), base, base + 16 * MIB - 1),
            windowed(port(TOP, 2, ROOT, PortType.UPSTREAM, acs=None), base, base + 16 * MIB - 1),
            windowed(port(RED_PORT, 3, TOP, ports, acs=red), base, base + 4 * MIB - 1),
            windowed(port(BLUE_PORT, 4, TOP, ports), base + 4 * MIB, base + 8 * MIB - 1),
            card(RED, RED_PORT, base),
            card(BLUE, BLUE_PORT, base + 4 * MIB),
            *extra,
        ]
    )


def pollution(machine: Host, device: str = RED, policy: Policy = Policy.STRICT) -> Pollution:
    return Polluter(Topology(machine), present(machine), policy).of(at(device))


def told(found: Pollution) -> list[tuple[str, str, str, int, int]]:
    return [(c.fate.value, c.answer.word, str(c.by)[5:], p.start, p.end) for c in found.claims for p in c.ranges]


def test_a_port_that_redirects_lets_nothing_turn() -> None:
    found = pollution(box())
    assert told(found) == [("lost", "direct", TOP, 0x80800000, 0x80FFFFFF)]
    assert not found.unknown


def test_what_nobody_claims_may_be_redirected_too() -> None:
    better = replace(ACS_ON, enhanced=AcsEnhanced.UNCLAIMED_REDIRECT)
    assert told(pollution(box(red=better))) == []
    assert told(pollution(box(red=better), BLUE)) == [("lost", "direct", TOP, 0x80800000, 0x80FFFFFF)]
    assert told(pollution(box(red=replace(ACS_ON, enhanced=AcsEnhanced(0)))))


def test_a_port_that_does_not_lets_its_peers_answer() -> None:
    off = replace(ACS_OFF, control=AcsFlag.UF)
    found = pollution(box(red=off))
    assert told(found) == [
        ("claimed", "direct", BLUE_PORT, 0x80400000, 0x807FFFFF),
        ("lost", "direct", TOP, 0x80800000, 0x80FFFFFF),
    ]
    assert found.claims[0].decider == at(RED_PORT)
    assert "ReqRedir-" in found.claims[0].because
    assert told(pollution(box(red=off), BLUE)) == [("lost", "direct", TOP, 0x80800000, 0x80FFFFFF)]


def test_without_upstream_forwarding_the_own_side_is_lost() -> None:
    found = pollution(box(red=replace(ACS_ON, control=ACS_ON.control & ~AcsFlag.UF)))
    assert told(found)[0] == ("lost", "direct", RED_PORT, 0x80000000, 0x803FFFFF)
    # Redirected by the switch, and not sent back by the root port.
    found = pollution(box(root=replace(ACS_ON, control=ACS_ON.control & ~AcsFlag.UF)))
    assert ("lost", "direct", ROOT, 0x80000000, 0x807FFFFF) in told(found)


def test_a_bridge_to_pcie_keeps_what_is_for_its_own_side() -> None:
    machine = changed(box(), RED_PORT, port_type=Known(PortType.PCI_TO_PCIE), acs=Known(None))
    assert ("lost", "direct", RED_PORT, 0x80000000, 0x803FFFFF) in told(pollution(machine))


def test_acs_that_was_not_read_is_possible() -> None:
    found = pollution(box(red=Unknown("cut")))
    assert ("claimed", "possible", BLUE_PORT, 0x80400000, 0x807FFFFF) in told(found)
    assert ("lost", "possible", RED_PORT, 0x80000000, 0x803FFFFF) in told(found)


def test_what_decodes_nothing_now_may_later() -> None:
    machine = box(red=replace(ACS_OFF, control=AcsFlag.UF))
    functions = dict(machine.functions)
    functions[at(BLUE_PORT)] = replace(functions[at(BLUE_PORT)], command=Known(Command(0)))
    found = pollution(replace(machine, functions=functions))
    assert ("claimed", "possible", BLUE_PORT, 0x80400000, 0x807FFFFF) in told(found)


def test_windows_that_were_not_read_are_unknown() -> None:
    machine = box(red=replace(ACS_OFF, control=AcsFlag.UF))
    functions = dict(machine.functions)
    functions[at(BLUE_PORT)] = replace(functions[at(BLUE_PORT)], bridge=Unknown("cut to 64 bytes"))
    found = pollution(replace(machine, functions=functions))
    assert any(BLUE_PORT in text and "cut to 64 bytes" in text for text in found.unknown)
    redirected = replace(box(), functions={**functions, at(RED_PORT): box().functions[at(RED_PORT)]})
    assert not pollution(redirected).unknown, "nothing turns towards it"


def test_a_bar_without_size_takes_what_it_may_hold() -> None:
    second = replace(
        function("03:00.1", RED_PORT, multifunction=True),
        bars=Known((Bar(0, 0x80200000, 0, memory=True),)),
        command=ON,
    )
    found = pollution(box(extra=(second,)))
    assert ("claimed", "possible", "03:00.1", 0x80200000, 0x803FFFFF) in told(found)


def test_a_bar_that_was_moved_answers_in_either_place() -> None:
    bar = Bar(0, 0x80400000, MIB, memory=True, register=0x80900000)
    second = replace(function("03:00.1", RED_PORT, multifunction=True), bars=Known((bar,)), command=ON)
    found = [one for one in told(pollution(box(extra=(second,)))) if one[2] == "03:00.1"]
    assert found == [
        ("claimed", "possible", "03:00.1", 0x80400000, 0x804FFFFF),
        ("claimed", "possible", "03:00.1", 0x80900000, 0x809FFFFF),
    ]


def changed(machine: Host, place: str, **more: object) -> Host:
    functions = dict(machine.functions)
    functions[at(place)] = replace(functions[at(place)], **more)  # type: ignore[arg-type]
    return replace(machine, functions=functions)


def forwarding_vga(machine: Host, place: str, vga: bool | None = True) -> Host:
    bridge = machine.functions[at(place)].bridge
    assert isinstance(bridge, Known)
    assert bridge.value is not None
    return changed(machine, place, bridge=Known(replace(bridge.value, vga=vga)))


SHARED = "03:01.0"


def conventional(*, first: int = 0x060400, second: int = 0x020000, vga: bool = False) -> Host:
    """Below a PCIe-to-PCI bridge with 16 MiB: a card, and a card or bridge beside it."""
    bridge = windowed(port(ROOT, 1), 0x80000000, 0x80FFFFFF)
    above = windowed(port("01:00.0", 3, ROOT, PortType.PCIE_TO_PCI, acs=None), 0x80000000, 0x80FFFFFF)
    old = {"port_type": Known(PortType.CONVENTIONAL), "class_code": second}
    beside = card(SHARED, "01:00.0", 0x80200000)
    if second >> 8 == 0x0604:
        beside = windowed(port(SHARED, 4, "01:00.0", PortType.CONVENTIONAL, acs=None), 0x80200000, 0x802FFFFF)
    beside = replace(beside, **old)  # type: ignore[arg-type]
    red = replace(card(RED, "01:00.0", 0x80000000), port_type=Known(PortType.CONVENTIONAL))
    return host([bridge, replace(above, class_code=first), red, beside])


def test_an_expansion_rom_answers_where_it_is_on() -> None:
    for enabled, answer in ((True, "direct"), (False, "possible")):
        rom = Known(Rom(0x80400000, 0x80000, enabled))
        found = pollution(changed(conventional(), SHARED, rom=rom))
        claims = [c for c in found.claims if c.what == "ROM"]
        assert [(c.answer.word, c.ranges) for c in claims] == [(answer, Ranges.of((0x80400000, 0x8047FFFF)))]
        asleep = changed(conventional(), SHARED, rom=rom, command=Known(Command(0)))
        assert {c.answer.word for c in pollution(asleep).claims if c.what == "ROM"} == {"possible"}
    unread = pollution(changed(conventional(), SHARED, rom=Unknown("cut")))
    assert [c.ranges for c in unread.claims if c.what == "ROM"] == [Ranges.of((0x80000000, 0x80FFFFFF))]
    assert not [c for c in pollution(conventional()).claims if c.what == "ROM"]


VGA = (0xA0000, 0xBFFFF)


def test_vgas_window_is_a_window() -> None:
    off = replace(ACS_OFF, control=AcsFlag.UF)
    assert ("claimed", "direct", BLUE_PORT, *VGA) in told(pollution(forwarding_vga(box(red=off), BLUE_PORT)))
    assert ("claimed", "possible", BLUE_PORT, *VGA) in told(pollution(forwarding_vga(box(red=off), BLUE_PORT, None)))
    redirected = forwarding_vga(box(), BLUE_PORT)
    assert VGA not in {entry[3:] for entry in told(pollution(redirected))}
    own = box(red=replace(ACS_ON, control=ACS_ON.control & ~AcsFlag.UF))
    assert ("lost", "direct", RED_PORT, *VGA) in told(pollution(forwarding_vga(own, RED_PORT)))
    assert ("lost", "possible", RED_PORT, *VGA) in told(pollution(forwarding_vga(own, RED_PORT, None)))
    top = told(pollution(forwarding_vga(box(), TOP)))
    assert ("lost", "direct", TOP, *VGA) in top, "nothing behind the switch answers"


def test_a_vga_controller_answers_to_vgas_memory() -> None:
    screen = conventional(second=0x030000)
    assert ("claimed", "possible", SHARED, *VGA) in told(pollution(screen))
    assert ("claimed", "possible", SHARED, *VGA) in told(pollution(changed(screen, SHARED, bars=Unknown("cut"))))
    assert VGA not in {entry[3:] for entry in told(pollution(conventional()))}
    # What shows no class may be one; what fits no class is none.
    assert ("claimed", "possible", SHARED, *VGA) in told(pollution(conventional(second=UNTOLD_CLASS)))
    assert VGA not in {entry[3:] for entry in told(pollution(conventional(second=0xFF0000)))}


def test_no_guest_of_a_pc_uses_vgas_memory() -> None:
    machine = forwarding_vga(box(red=replace(ACS_OFF, control=AcsFlag.UF), base=0xE0000000), BLUE_PORT)
    assert not [c for c in conflicts(machine, Guest(8 * GIBIBYTE)) if c.range.start == VGA[0]]
    met = [c for c in conflicts(machine, Guest(2 * GIBIBYTE, Machine.MICROVM)) if c.range.start == VGA[0]]
    assert [c.kind for c in met] == [ConflictKind.POLLUTED]


def test_subtractive_decoding_takes_what_nobody_takes() -> None:
    found = pollution(conventional(second=0x060401))
    taken = [c for c in found.claims if c.what == "subtractive decoding"]
    assert [(c.fate, c.answer, c.by) for c in taken] == [(Fate.CLAIMED, Answer.DIRECT, at(SHARED))]
    assert taken[0].ranges == Ranges.of((0x80000000, 0x801FFFFF), (0x80300000, 0x80FFFFFF))
    assert not [c for c in pollution(conventional(second=0x060400)).claims if c.what == "subtractive decoding"]


def test_behind_a_subtractive_bridge_devices_answer_outside_its_windows() -> None:
    bridge = windowed(port("00:1e.0", 5, None, PortType.CONVENTIONAL, acs=None), 0x90000000, 0x900FFFFF)
    old = card("05:00.0", "00:1e.0", 0x91000000)
    for code, seen in ((0x060401, True), (0x060400, False)):
        machine = box(root=replace(ACS_OFF, control=AcsFlag.UF), extra=(replace(bridge, class_code=code), old))
        assert (("claimed", "possible", "00:1e.0", 0x91000000, 0x910FFFFF) in told(pollution(machine))) is seen


def test_where_virtual_functions_are_switched_on() -> None:
    bar = Bar(0, 0x80300000, 0x40000, memory=True)
    ranges = (0x80300000, 0x8033FFFF)
    second = replace(
        card("03:00.1", RED_PORT, 0x80200000), multifunction=Known(True), sriov=Known(Sriov(8, 0, 0x160, False, (bar,)))
    )
    assert ("claimed", "possible", "03:00.1", *ranges) in told(pollution(box(extra=(second,))))
    unsized: Known[Sriov | None] = Known(Sriov(8, 4, 0x160, True, (replace(bar, size=0),)))
    found = told(pollution(box(extra=(replace(second, sriov=unsized),))))
    assert ("claimed", "possible", "03:00.1", 0x80300000, 0x803FFFFF) in found, "to the end of the port's window"
    virtual = replace(card("03:00.2", RED_PORT, 0x80300000, 0x10000), physical_function=at("03:00.1"))
    for memory, answer in ((True, "direct"), (False, "possible")):
        owner = replace(second, acs=Known(ACS_OFF), sriov=Known(Sriov(8, 4, 0x160, memory, (bar,))))
        red = replace(card(RED, RED_PORT, 0x80000000), acs=Known(ACS_OFF), multifunction=Known(True))
        claims = pollution(box(extra=(red, owner, virtual))).claims
        assert {c.answer.word for c in claims if c.by == virtual.address} == {answer}


def test_elsewhere_than_on_x86_bars_may_count_addresses_otherwise() -> None:
    off = replace(conventional(), platform=Platform.POWERNV)
    far = changed(off, SHARED, bars=Known((Bar(0, 0x3FE0_8020_0000, MIB, memory=True),)))
    claims = [c for c in pollution(far).claims if c.what == "BAR 0"]
    assert [c.answer for c in claims] == [Answer.POSSIBLE]
    assert all(0x80200000 in c.ranges for c in claims), "it answers somewhere in the window"
    assert not [c for c in pollution(off).claims if c.what == "BAR 0" and c.answer is not Answer.DIRECT]


def test_functions_of_a_device_without_acs_are_an_open_question() -> None:
    second = replace(card("03:00.1", RED_PORT, 0x80200000), multifunction=Known(True))
    assert ("claimed", "possible", "03:00.1", 0x80200000, 0x802FFFFF) in told(pollution(box(extra=(second,))))
    trusted = pollution(box(extra=(second,)), policy=Policy.TRUSTED)
    assert "03:00.1" not in {entry[2] for entry in told(trusted)}
    assert "multifunction-without-acs" in trusted.assumptions


@pytest.mark.parametrize(
    ("routing", "answer"), [(None, "possible"), (RootRouting.DIRECT, "direct"), (RootRouting.NONE, None)]
)
def test_the_root_complex(routing: RootRouting | None, answer: str | None) -> None:
    other = windowed(port("00:02.0", 5), 0x90000000, 0x900FFFFF)
    machine = box(root=replace(ACS_OFF, control=AcsFlag.UF), extra=(other,))
    if routing is not None:
        machine = replace(machine, root_routing={"pci0000:00": Known(routing)})
    entries = [entry for entry in told(pollution(machine)) if entry[2] == "00:02.0"]
    assert entries == ([] if answer is None else [("claimed", answer, "00:02.0", 0x90000000, 0x900FFFFF)])


def test_a_way_up_that_was_not_read_is_unknown() -> None:
    machine = box()
    functions = {a: f for a, f in machine.functions.items() if a != at(RED_PORT)}
    assert pollution(replace(machine, functions=functions)).unknown


def conflicts(machine: Host, guest: Guest) -> tuple[Conflict, ...]:
    clusters = Clusters((Cluster("red", (at(RED),)),))
    return survey(Polluter(Topology(machine), present(machine), Policy.STRICT), clusters, guest)[0].conflicts


def test_the_layout_or_the_bit_that_avoids_it() -> None:
    machine = box(red=replace(ACS_OFF, control=AcsFlag.UF))
    met = [c for c in conflicts(machine, Guest(3 * GIBIBYTE, Machine.I440FX)) if c.kind is ConflictKind.POLLUTED]
    assert [(c.range.start, str(c.claimed_by)[5:]) for c in met] == [(0x80400000, BLUE_PORT)]
    assert [remedy.how for remedy in met[0].remedies] == [
        f"pci=config_acs=xx111x1@0000:{RED_PORT}",
        "-machine pc,max-ram-below-4g=2G",
    ]
    lower = Guest(3 * GIBIBYTE, Machine.I440FX, max_ram_below_4g=2 * GIBIBYTE)
    assert not [c for c in conflicts(machine, lower) if c.kind is ConflictKind.POLLUTED]
    closed = [c for c in conflicts(box(), Guest(3 * GIBIBYTE, Machine.I440FX)) if c.kind is ConflictKind.POLLUTED]
    assert not closed


def test_no_bit_helps_where_there_is_no_acs() -> None:
    met = conflicts(box(red=None), Guest(3 * GIBIBYTE, Machine.I440FX))
    assert {c.kind for c in met} >= {ConflictKind.POLLUTED, ConflictKind.LOST}
    assert not [r for c in met for r in c.remedies if "config_acs" in r.how]


# -- against the twin's traffic

_AT_THE_IOMMU = ("maps nothing", "maps its own buffers", "no context", "its endpoint maps")
"""What the twin's IOMMU says where it translates nothing."""


def tried(twin: Twin, source: Address, victim: Address) -> list[tuple[int, Attempt]]:
    """Untranslated requests of the source's own id to BARs, by the address that was sent."""
    return [
        (int(attempt.target.rpartition(" ")[2], 16), attempt)
        for attempt in twin.attack(source, victim).attempts
        if attempt.kind in ("write", "read") and attempt.target.startswith("BAR")
    ]


def at_the_iommu(attempt: Attempt) -> bool:
    """Whether a request came to the IOMMU."""
    return any(hop.via == "translation" for hop in attempt.path) or any(
        word in attempt.stopped for word in _AT_THE_IOMMU
    )


def verdict(claims: tuple[Claim, ...], address: int) -> set[tuple[Fate, Answer]]:
    return {(claim.fate, claim.answer) for claim in claims if address in claim.ranges}


def shaken(name: str, seed: int) -> Twin:
    """A machine where all functions decode and send, and whose ACS is set at random."""
    twin = Twin.new(name)
    choice = random.Random(seed)
    functions = twin.kernel.hardware.functions
    for address in functions:
        twin.poke(address, "config", 4, twin.peek(address, "config", 4) & 0xFFFF | 0x6)
    machine = read_host(twin)
    for address, told_function in machine.functions.items():
        acs = told_function.acs
        if isinstance(acs, Known) and acs.value is not None and seed:
            twin.poke(address, "config", acs.value.offset + 4, choice.randrange(0x80) << 16)
    return twin


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("name", ["pcie-box", "ac922-4gpu"])
def test_as_the_twins_traffic_goes(name: str, seed: int) -> None:
    twin = shaken(name, seed)
    machine = read_host(twin)
    polluter = Polluter(Topology(machine), present(machine), Policy.STRICT)
    endpoints = [f.address for f in machine.functions.values() if not f.is_port]
    endpoints = [address for address in endpoints if address not in polluter.topology.bricks]
    seen = {"direct": 0, "lost": 0, "up": 0}
    for source in endpoints:
        claims = polluter.of(source).claims
        for victim in endpoints:
            if victim == source:
                continue
            for address, attempt in tried(twin, source, victim):
                found = verdict(claims, address)
                what = (str(source), hex(address), attempt.delivered, attempt.stopped, found)
                if at_the_iommu(attempt):
                    seen["up"] += 1
                    assert not any(answer is Answer.DIRECT for _, answer in found), what
                elif attempt.delivered:
                    seen["direct"] += 1
                    assert any(fate is Fate.CLAIMED for fate, _ in found), what
                else:
                    seen["lost"] += 1
                    assert found, what
                if (Fate.CLAIMED, Answer.DIRECT) in found:
                    assert attempt.delivered or attempt.stopped.startswith("arrives at"), what
    assert seen["up"] > 0
    if name == "pcie-box":
        assert seen["direct"] > 0


def edges(machine: Host) -> list[int]:
    """The first and last address of every window and BAR, and their neighbours."""
    found: set[int] = set()
    for told_function in machine.functions.values():
        assert isinstance(told_function.bars, Known)
        assert isinstance(told_function.bridge, Known)
        ranges = [(bar.start, bar.start + bar.size - 1) for bar in told_function.bars.value if bar.memory]
        bridge = told_function.bridge.value
        ranges += [] if bridge is None else [(w.start, w.end) for w in bridge.windows if w.memory]
        for start, end in ranges:
            found |= {start - 1, start, end, end + 1}
    return sorted(address for address in found if address >= 0)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("name", ["pcie-box", "ac922-4gpu", "dgx1v"])
def test_exactly_what_never_comes_to_the_iommu(name: str, seed: int) -> None:
    twin = shaken(name, seed)
    machine = read_host(twin)
    polluter = Polluter(Topology(machine), present(machine), Policy.STRICT)
    router = Router(twin.kernel.hardware, Iommu(twin.kernel, twin.vfio))
    router.begin()
    addresses = edges(machine)
    polluted = 0
    for source, sender in twin.kernel.hardware.functions.items():
        if source not in machine.functions or sender.spec.is_bridge or source in polluter.topology.bricks:
            continue
        claims = polluter.of(source).claims
        for address in addresses:
            outcome = router.send(sender, Packet(Kind.WRITE, address, source.requester_id))
            found = verdict(claims, address)
            what = (str(source), hex(address), outcome.stopped, found)
            assert "SrcValid" not in outcome.stopped, what
            up = any(hop.via == "translation" for hop in outcome.path) or any(
                word in outcome.stopped for word in _AT_THE_IOMMU
            )
            if up:
                assert not any(answer is Answer.DIRECT for _, answer in found), what
            else:
                assert found, what
                polluted += 1
            if found == {(Fate.CLAIMED, Answer.DIRECT)} and outcome.function is None:
                assert "answers to" in outcome.stopped, what
            if found == {(Fate.LOST, Answer.DIRECT)}:
                assert outcome.function is None, what
    assert polluted


@pytest.mark.parametrize("seed", range(3))
def test_no_address_surely_ends_twice(seed: int) -> None:
    machine = read_host(shaken("pcie-box", seed))
    polluter = Polluter(Topology(machine), present(machine), Policy.STRICT)
    for source in polluter.topology.endpoints:
        sure = [claim.ranges for claim in polluter.of(source).claims if claim.answer is Answer.DIRECT]
        assert sum(ranges.size for ranges in sure) == polluter.of(source).ranges(Answer.DIRECT).size


@pytest.mark.parametrize("what", ["bars", "rom"])
def test_what_a_port_above_holds_and_no_window_bounds_is_told_where_it_was_not_read(what: str) -> None:
    """No port stands above a root port: its own BARs and ROM may be anywhere, and whether it redirects from them is
    left open."""
    machine = box()
    assert not pollution(machine).unknown
    root = machine.functions[at(ROOT)]
    if what == "rom":
        root = replace(root, bars=Known((Bar(0, 0xC0000000, MIB, memory=True),)), rom=Unknown("not shown"))
    else:
        root = replace(root, bars=Unknown("not shown"))
    found = pollution(replace(machine, functions={**machine.functions, at(ROOT): root}))
    assert any(ROOT in text and "not shown" in text for text in found.unknown)
