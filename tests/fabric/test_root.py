"""By way of the root complex: what the IOMMU lets through, what a root port sends back, what egress control ends."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from reach_hosts import ALL, CLOSED, Scene, acs, at, change, endpoint, machine, peer, port, scene, slots, switch

from atoll.fabric.answer import Answer, Policy, Question
from atoll.fabric.meeting import meeting_turn
from atoll.fabric.passage import climbs
from atoll.fabric.root import reflected, to_memory
from atoll.fabric.settings import Domain, DomainKind
from atoll.fabric.topology import Branches
from atoll.fabric.turn import Traffic
from atoll.host.fact import Known, Unknown
from atoll.host.model import Function, Host, Platform, RootRouting
from atoll.pci.acs import Acs
from atoll.pci.ats import Ats
from atoll.pci.header import Command, PortType
from atoll.pci.multicast import Multicast

DIRECT, POSSIBLE, IOMMU, BLOCKED = Answer.DIRECT, Answer.POSSIBLE, Answer.IOMMU, Answer.BLOCKED
STRICT, LINUX, TRUSTED = Policy.STRICT, Policy.LINUX, Policy.TRUSTED
QUIET = Command.MEMORY
DEAF = Command.MASTER


# -- through the IOMMU


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        (DomainKind.TRANSLATED, IOMMU),
        (DomainKind.IDENTITY, DIRECT),
        (DomainKind.NONE, DIRECT),
        (DomainKind.BLOCKED, BLOCKED),
        (DomainKind.UNKNOWN, POSSIBLE),
    ],
)
def test_memory_is_as_the_domain_says(kind: DomainKind, expected: Answer) -> None:
    found = scene(machine(*slots(CLOSED)))
    settings = found.settings.with_domain(at("01:00.0"), Domain(kind, "", "as told"))
    for policy in Policy:
        assert to_memory(found.topology, settings, policy, at("01:00.0")).answer is expected
    quiet = settings.with_command(at("00:01.0"), QUIET)
    assert to_memory(found.topology, quiet, STRICT, at("01:00.0")).answer is BLOCKED


def test_memory_of_a_function_without_a_domain_is_open() -> None:
    found = scene(machine(*slots(CLOSED)))
    assert to_memory(found.topology, replace(found.settings, domain={}), STRICT, at("01:00.0")).answer is POSSIBLE


def test_an_unread_command_register_is_no_refutation() -> None:
    found = scene(machine(*slots(CLOSED, command=None), kind="identity"))
    assert to_memory(found.topology, found.settings, STRICT, at("01:00.0")).answer is POSSIBLE
    assert climbs(found.settings, at("01:00.0"), (at("00:01.0"),)) is None


def translating(kind: DomainKind, word: Acs = CLOSED, *, ats: bool | Unknown = True) -> Scene:
    card = endpoint("01:00.0", "00:01.0", ats=ats)
    found = scene(machine(port("00:01.0", 1, acs=word), card))
    return replace(found, settings=found.settings.with_domain(card.address, Domain(kind)))


@pytest.mark.parametrize(
    ("word", "ats", "expected"),
    [
        (CLOSED, True, DIRECT),
        (acs("SV RR CR UF TB"), True, IOMMU),
        (CLOSED, False, IOMMU),
        (CLOSED, Unknown("cut"), POSSIBLE),
        (acs("SV RR CR UF TB"), Unknown("cut"), IOMMU),
    ],
)
def test_translated_requests_pass_the_iommu(word: Acs, ats: bool | Unknown, expected: Answer) -> None:
    found = translating(DomainKind.TRANSLATED, word, ats=ats)
    assert to_memory(found.topology, found.settings, STRICT, at("01:00.0")).answer is expected
    assert to_memory(found.topology, found.settings, LINUX, at("01:00.0")).answer is expected


def test_whether_translated_requests_pass_under_the_id_of_a_vmd_is_open() -> None:
    """The entry of the VMD's own id decides, which no file shows."""
    card = endpoint("10000:01:00.0", "10000:00:02.0", ats=True)
    vmd = endpoint("00:0e.0", ids=(0x8086, 0x9A0B), class_code=0x010400)
    found = scene(machine(vmd, port("10000:00:02.0", 1), card))
    settings = found.settings.with_domain(card.address, Domain(DomainKind.TRANSLATED))
    assert to_memory(found.topology, settings, STRICT, card.address).answer is POSSIBLE


@pytest.mark.parametrize(
    ("kind", "expected"),
    [(DomainKind.TRANSLATED, IOMMU), (DomainKind.IDENTITY, DIRECT), (DomainKind.UNKNOWN, POSSIBLE)],
)
def test_an_honest_ats_device_hides_nothing_else(kind: DomainKind, expected: Answer) -> None:
    """That translated requests are honest says nothing of untranslated ones in an unknown address space."""
    found = translating(kind)
    finding = to_memory(found.topology, found.settings, TRUSTED, at("01:00.0"))
    assert finding.answer is expected
    assert finding.assumptions == {Question.HONEST_ATS.value}


def sent_back(
    *functions: Function,
    kind: str = "identity",
    other: str = "02:00.0",
    one: str = "01:00.0",
    routing: RootRouting | None = None,
    platform: Platform = Platform.X86,
) -> Answer:
    found = scene(machine(*functions, kind=kind, routing=routing, platform=platform))
    up = to_memory(found.topology, found.settings, STRICT, at(one))
    return reflected(found.topology, found.settings, at(one), at(other), up).answer


def test_reflected_by_the_root() -> None:
    assert sent_back(*slots(CLOSED, CLOSED)) is DIRECT
    assert sent_back(*slots(CLOSED, CLOSED), kind="DMA") is IOMMU
    assert sent_back(*change(slots(CLOSED, CLOSED), "02:00.0", command=Known(DEAF))) is BLOCKED
    assert sent_back(*change(slots(CLOSED, CLOSED), "00:02.0", command=Known(DEAF))) is BLOCKED
    assert sent_back(*change(slots(CLOSED, CLOSED), "00:02.0", command=Unknown("cut"))) is POSSIBLE
    assert sent_back(*change(slots(CLOSED, CLOSED), "02:00.0", bars=Known(()))) is BLOCKED
    assert sent_back(*slots(CLOSED), endpoint("02:00.0", "00:02.0")) is POSSIBLE, "what is above it was not read"


@pytest.mark.parametrize(
    ("routing", "expected"),
    [(RootRouting.DIRECT, DIRECT), (RootRouting.TRANSLATED, DIRECT), (RootRouting.NONE, BLOCKED), (None, DIRECT)],
)
def test_a_root_complex_that_routes_nothing_sends_nothing_back(routing: RootRouting | None, expected: Answer) -> None:
    assert sent_back(*slots(CLOSED, CLOSED), routing=routing) is expected


def test_what_is_stated_of_root_ports_says_nothing_of_what_comes_back_to_integrated_endpoints() -> None:
    inside = [endpoint(f"00:0{slot}.0", port_type=PortType.ROOT_INTEGRATED) for slot in "ab"]
    assert sent_back(*inside, one="00:0a.0", other="00:0b.0", routing=RootRouting.NONE) is POSSIBLE


def test_what_leaves_a_vmds_segment_comes_back_as_the_root_complex_around_it_has_it() -> None:
    vmd = endpoint("00:0e.0", port_type=PortType.ROOT_INTEGRATED, ids=(0x8086, 0x201D))
    behind = [port("10000:00:02.0", 1, acs=CLOSED), endpoint("10000:01:00.0", "10000:00:02.0")]
    behind += [port("10000:00:03.0", 2, acs=CLOSED), endpoint("10000:02:00.0", "10000:00:03.0")]
    found = scene(machine(vmd, *behind, kind="identity", routing=RootRouting.DIRECT))
    outer = {**found.topology.host.root_routing, "pci0000:00": Known(RootRouting.NONE)}

    def answer(host: Host) -> Answer:
        there = scene(host)
        up = to_memory(there.topology, there.settings, STRICT, at("10000:01:00.0"))
        return reflected(there.topology, there.settings, at("10000:01:00.0"), at("10000:02:00.0"), up).answer

    assert answer(found.topology.host) is DIRECT
    assert answer(replace(found.topology.host, root_routing=outer)) is POSSIBLE


@pytest.mark.parametrize(
    ("platform", "expected"),
    [(Platform.X86, BLOCKED), (Platform.ARM, POSSIBLE), (Platform.UNKNOWN, POSSIBLE), (Platform.POWERNV, DIRECT)],
)
def test_host_bridges_that_shift_addresses_hide_from_a_port_what_is_its_own_side(
    platform: Platform, expected: Answer
) -> None:
    functions = switch(CLOSED, CLOSED, root=acs("SV RR CR"))
    assert sent_back(*functions, one="03:00.0", other="04:00.0", platform=platform) is expected


@pytest.mark.parametrize(
    ("root", "expected"),
    [(CLOSED, DIRECT), (acs("SV RR CR"), BLOCKED), (acs("", "SV RR CR"), BLOCKED), (None, POSSIBLE)],
)
def test_upstream_forwarding_of_what_is_below_the_same_port(root: Acs | None, expected: Answer) -> None:
    functions = switch(CLOSED, CLOSED, root=root)
    assert sent_back(*functions, one="03:00.0", other="04:00.0") is expected


@pytest.mark.parametrize(
    ("root", "routing", "expected"),
    [
        (CLOSED, None, BLOCKED),
        (acs("SV UF"), None, BLOCKED),  # it goes on to the root complex, which validates it
        (acs("SV RR CR"), None, BLOCKED),  # without forwarding it ends there
        (acs("", "SV RR CR"), None, BLOCKED),
        (None, None, POSSIBLE),
        (None, RootRouting.DIRECT, POSSIBLE),
        (None, RootRouting.TRANSLATED, BLOCKED),
        (None, RootRouting.NONE, POSSIBLE),  # what is stated is what it does between its ports
        (Unknown("cut"), None, POSSIBLE),
    ],
)
def test_what_a_switch_redirects_may_come_back_from_a_root_port_without_acs(
    root: Acs | Unknown | None, routing: RootRouting | None, expected: Answer
) -> None:
    """The IOMMU translates all here: what comes back before it was asked does not depend on mappings."""
    found = scene(machine(*switch(CLOSED, CLOSED, root=root), routing=routing))
    assert peer(found, "03:00.0", "04:00.0").answer is expected
    pair = [endpoint(f"01:00.{n}", "00:01.0", acs=CLOSED, multifunction=True) for n in range(2)]
    device = scene(machine(port("00:01.0", 1, acs=root), *pair, routing=routing))
    assert peer(device, "01:00.0", "01:00.1").answer is expected


def test_what_does_not_come_up_does_not_come_back() -> None:
    """Requests do not pass a port that is no bus master, completions do."""
    found = scene(machine(*change(switch(CLOSED, CLOSED, root=None), "00:01.0", command=Known(QUIET))))
    branches = Branches(at("02:00.0"), at("02:01.0"), at("01:00.0"))
    answers = [meeting_turn(found.topology, found.settings, branches, traffic).answer for traffic in Traffic]
    assert answers == [BLOCKED, BLOCKED, POSSIBLE]


def test_what_may_come_back_is_the_root_complexs_question() -> None:
    found = scene(machine(*switch(CLOSED, CLOSED, root=None)))
    assert peer(found, "03:00.0", "04:00.0", LINUX).answer is POSSIBLE
    trusted = peer(found, "03:00.0", "04:00.0", TRUSTED)
    assert (trusted.answer, set(trusted.assumptions)) == (BLOCKED, {Question.ROOT_COMPLEX.value})


def test_a_port_above_a_switch_that_was_not_read_may_send_all_back() -> None:
    functions = switch(CLOSED, CLOSED)
    assert peer(scene(machine(*functions[1:])), "03:00.0", "04:00.0", TRUSTED).answer is POSSIBLE
    kind = scene(machine(*change(functions, "00:01.0", port_type=Unknown("cut"))))
    assert peer(kind, "03:00.0", "04:00.0", TRUSTED).answer is POSSIBLE


def test_what_egress_control_blocks_ends_there() -> None:
    word = acs("SV CR UF EC", ALL, vector=0xFF)
    found = scene(machine(*switch(word, word, root=None)))
    plain = Branches(at("02:00.0"), at("02:01.0"), at("01:00.0"))
    assert meeting_turn(found.topology, found.settings, plain, Traffic.UNTRANSLATED).answer is BLOCKED
    assert meeting_turn(found.topology, found.settings, plain, Traffic.COMPLETION).answer is POSSIBLE


# -- below a port that is not shown


def unshown(*acs_of: Acs | None, above: PortType = PortType.UPSTREAM) -> list[Function]:
    """Return what a guest may see of a switch: its upstream port, or its downstream ports, on the root bus."""
    if above is PortType.DOWNSTREAM:
        ports = [port(f"00:{n:02x}.0", n, None, above, acs=word) for n, word in enumerate(acs_of, start=1)]
    else:
        below = PortType.DOWNSTREAM
        ports = [port(f"01:{n:02x}.0", 1 + n, "00:01.0", below, acs=word) for n, word in enumerate(acs_of, start=1)]
    cards = [endpoint(f"{1 + n:02x}:00.0", str(p.address)[5:]) for n, p in enumerate(ports, start=1)]
    return [*([port("00:01.0", 1, None, above, acs=None)] if above is PortType.UPSTREAM else []), *ports, *cards]


@pytest.mark.parametrize("above", [PortType.UPSTREAM, PortType.DOWNSTREAM])
@pytest.mark.parametrize("routing", [None, RootRouting.NONE, RootRouting.TRANSLATED, RootRouting.DIRECT])
def test_a_root_port_that_is_not_shown_may_send_back(above: PortType, routing: RootRouting | None) -> None:
    """Ports of switches and endpoints stand below one (Base Specification 1.3), whatever the record has above them."""
    found = scene(machine(*unshown(CLOSED, CLOSED, above=above), routing=routing))
    expected = BLOCKED if routing is RootRouting.TRANSLATED else POSSIBLE
    assert peer(found, "02:00.0", "03:00.0").answer is expected


@pytest.mark.parametrize("kind", [PortType.ENDPOINT, PortType.LEGACY_ENDPOINT, PortType.ROOT_INTEGRATED])
def test_an_endpoint_on_a_root_bus_hangs_below_a_port_that_is_not_shown(kind: PortType) -> None:
    """Its own ACS tells what its device does inside; what is built into the root complex decides by its own."""
    pair = [endpoint(f"00:0{n}.0", port_type=kind, acs=acs("", "")) for n in (2, 3)]
    found = scene(machine(*pair))
    assert peer(found, "00:02.0", "00:03.0").answer is (BLOCKED if kind is PortType.ROOT_INTEGRATED else POSSIBLE)
    # What comes to it from a port that redirects goes through the IOMMU first.
    assert peer(scene(machine(*slots(CLOSED), *pair)), "01:00.0", "00:02.0").answer is BLOCKED


def test_what_no_root_complex_routes_between_its_ports_may_come_back_at_one() -> None:
    """Stated is what it does between ports; Upstream Forwarding has it decide about one port's own side as well."""
    for root, expected in ((None, POSSIBLE), (CLOSED, BLOCKED)):
        found = scene(machine(*switch(CLOSED, CLOSED, root=root), routing=RootRouting.NONE))
        assert peer(found, "03:00.0", "04:00.0").answer is expected
        assert peer(found, "03:00.0", "04:00.0", TRUSTED).answer is BLOCKED
    same = scene(machine(*switch(CLOSED, CLOSED), kind="identity", routing=RootRouting.NONE))
    finding = to_memory(same.topology, same.settings, STRICT, at("03:00.0"))
    assert reflected(same.topology, same.settings, at("03:00.0"), at("04:00.0"), finding).answer is POSSIBLE
    apart = scene(machine(*slots(CLOSED, CLOSED), kind="identity", routing=RootRouting.NONE))
    finding = to_memory(apart.topology, apart.settings, STRICT, at("01:00.0"))
    assert reflected(apart.topology, apart.settings, at("01:00.0"), at("02:00.0"), finding).answer is BLOCKED


# -- what must not be taken for a reason to be safe


def test_only_ports_above_both_see_their_own_side() -> None:
    """That the sender's port does not send back what is below itself hinders nothing on its way to another."""
    assert sent_back(*slots(acs("SV RR CR"), CLOSED)) is DIRECT


def nested(**outer: Any) -> list[Function]:
    """A switch below a downstream port without Upstream Forwarding of another, below a root port without ACS."""
    down = PortType.DOWNSTREAM
    return [
        port("00:01.0", 1, acs=None),
        replace(port("01:00.0", 2, "00:01.0", PortType.UPSTREAM, acs=None), **outer),
        port("02:00.0", 3, "01:00.0", down, acs=acs("SV RR CR")),
        port("03:00.0", 4, "02:00.0", PortType.UPSTREAM, acs=None),
        *(port(f"04:0{n}.0", 5 + n, "03:00.0", down, acs=CLOSED) for n in range(2)),
        *(endpoint(f"0{5 + n}:00.0", f"04:0{n}.0") for n in range(2)),
    ]


@pytest.mark.parametrize(("platform", "expected"), [(Platform.X86, BLOCKED), (Platform.ARM, POSSIBLE)])
def test_a_switch_port_ends_only_what_it_knows_for_its_own_side(platform: Platform, expected: Answer) -> None:
    found = scene(machine(*nested(), platform=platform))
    assert peer(found, "05:00.0", "06:00.0").answer is expected


@pytest.mark.parametrize(("enabled", "expected"), [(False, BLOCKED), (True, POSSIBLE)])
def test_what_gets_its_address_further_up_is_not_ended_below(enabled: bool, expected: Answer) -> None:
    """Multicast's overlay: the port below sees an address of the window, not the one that the root port sends back."""
    multicast = Known(Multicast(enabled=enabled, base=0x1_0000_0000, size=0x2000))
    found = scene(machine(*nested(multicast=multicast)))
    assert peer(found, "05:00.0", "06:00.0").answer is expected


def test_what_a_root_complex_is_stated_to_do_between_ports_is_no_question_at_one() -> None:
    found = scene(machine(*switch(CLOSED, CLOSED, root=None), routing=RootRouting.DIRECT))
    assert peer(found, "03:00.0", "04:00.0", TRUSTED).answer is POSSIBLE


def test_a_port_above_the_target_that_was_not_read_may_be_anywhere() -> None:
    found = scene(machine(*slots(CLOSED), endpoint("02:00.0", "00:02.0")))
    assert peer(found, "01:00.0", "02:00.0").answer is POSSIBLE


@pytest.mark.parametrize(
    ("word", "expected"),
    [(Unknown("cut"), POSSIBLE), (acs("SV RR CR UF", "SV RR CR UF"), DIRECT), (acs("SV TB RR CR UF"), IOMMU)],
)
def test_what_is_not_known_to_block_translated_requests_does_not(word: Acs | Unknown, expected: Answer) -> None:
    one, card = slots(word)
    found = scene(machine(one, replace(card, ats=Known(Ats(True, 0x1B0)))))
    assert to_memory(found.topology, found.settings, STRICT, at("01:00.0")).answer is expected


def test_what_egress_control_redirects_may_come_back() -> None:
    word = acs("SV RR CR UF EC", ALL, vector=0xFF)
    found = scene(machine(*switch(word, word, root=None)))
    plain = Branches(at("02:00.0"), at("02:01.0"), at("01:00.0"))
    assert meeting_turn(found.topology, found.settings, plain, Traffic.UNTRANSLATED).answer is POSSIBLE


def test_what_may_decode_may_be_hit_from_the_root() -> None:
    assert sent_back(*change(slots(CLOSED, CLOSED), "02:00.0", command=Unknown("cut"))) is POSSIBLE
