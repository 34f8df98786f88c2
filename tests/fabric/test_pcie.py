"""Traffic over PCIe: what climbs, where it turns, what the IOMMU lets through, what comes down again."""

from __future__ import annotations

from dataclasses import replace

import pytest
from reach_hosts import ALL, CLOSED, OFF, acs, at, change, endpoint, machine, peer, port, scene, slots, switch

from atoll.fabric.answer import Answer, Policy, Question
from atoll.fabric.meeting import turns
from atoll.fabric.pcie import TRANSLATED_WITHOUT_ATS
from atoll.host.fact import Fact, Known, Unknown
from atoll.host.model import UNTOLD_CLASS, RootRouting
from atoll.isolation.contacts.crossing import Crossings
from atoll.pci.acs import Acs, AcsEnhanced
from atoll.pci.bar import Bar, Rom
from atoll.pci.header import Command, PortType

DIRECT, POSSIBLE, IOMMU, BLOCKED = Answer.DIRECT, Answer.POSSIBLE, Answer.IOMMU, Answer.BLOCKED
STRICT, LINUX, TRUSTED = Policy.STRICT, Policy.LINUX, Policy.TRUSTED
QUIET = Command.MEMORY
DEAF = Command.MASTER
NO_COMPLETIONS = acs("CR")
"""Requests go straight to peers, completions do not: what is left is what requests do."""


# -- in a switch


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        (OFF, DIRECT),
        (CLOSED, BLOCKED),
        (None, DIRECT),
        (Unknown("cut"), POSSIBLE),
        (acs("RR"), DIRECT),
        (acs("", ""), BLOCKED),
    ],
)
def test_across_a_switch_the_senders_port_decides(word: Acs | Unknown | None, expected: Answer) -> None:
    found = scene(machine(*switch(word, CLOSED)))
    assert peer(found, "03:00.0", "04:00.0").answer is expected
    assert peer(found, "04:00.0", "03:00.0").answer is BLOCKED, "an egress control says nothing of what comes down"


@pytest.mark.parametrize("policy", Policy)
def test_a_switch_whose_upstream_port_was_not_read_is_still_one(policy: Policy) -> None:
    upstream = port("01:00.0", 2, "00:01.0", None, acs=Unknown("cut"))
    found = scene(machine(*switch(None, CLOSED, up=upstream)))
    assert peer(found, "03:00.0", "04:00.0", policy).answer is DIRECT


def test_the_witness_names_the_port_and_what_lets_it_through() -> None:
    path = peer(scene(machine(*switch(OFF, CLOSED))), "03:00.0", "04:00.0").path
    assert [(hop.at, hop.via) for hop in path] == [("0000:02:00.0", "untranslated request"), ("0000:04:00.0", "PCIe")]
    assert path[0].because == "ReqRedir- at 0000:02:00.0"
    assert path[1].because == "delivered below 0000:02:01.0"


def test_the_witness_names_no_port_above_the_other_function_of_a_card() -> None:
    card = [endpoint(place, "00:01.0", multifunction=True) for place in ("01:00.0", "01:00.1")]
    path = peer(scene(machine(port("00:01.0", 1, None, None), *card)), "01:00.0", "01:00.1").path
    assert path[-1].because == "delivered on its own bus"


@pytest.mark.parametrize(
    ("place", "command", "expected"),
    [
        ("03:00.0", QUIET, BLOCKED),  # the sender may not master
        ("02:00.0", QUIET, BLOCKED),  # the port does not forward upwards
        ("01:00.0", QUIET, DIRECT),  # beyond where it turns
        ("04:00.0", DEAF, BLOCKED),  # the target does not answer
        ("02:01.0", DEAF, BLOCKED),  # the port above it has its windows shut
        ("01:00.0", DEAF, DIRECT),
        ("03:00.0", None, POSSIBLE),
        ("02:00.0", None, POSSIBLE),
        ("04:00.0", None, POSSIBLE),
        ("02:01.0", None, POSSIBLE),
        ("01:00.0", None, DIRECT),
    ],
)
def test_command_registers_on_the_way(place: str, command: Command | None, expected: Answer) -> None:
    fact = Unknown("not read") if command is None else Known(command)
    found = scene(machine(*change(switch(NO_COMPLETIONS, CLOSED), place, command=fact)))
    assert peer(found, "03:00.0", "04:00.0").answer is expected


def test_completions_need_neither_mastering_nor_memory() -> None:
    functions = change(switch(acs("RR"), CLOSED), "03:00.0", command=Known(Command(0)))
    functions = change(functions, "04:00.0", command=Known(Command(0)), bars=Known(()))
    found = peer(scene(machine(*functions)), "03:00.0", "04:00.0")
    assert (found.answer, found.path[0].via) == (DIRECT, "completion")


def test_without_memory_there_is_nothing_to_request() -> None:
    silent = change(switch(NO_COMPLETIONS, CLOSED), "04:00.0", bars=Known(()))
    assert peer(scene(machine(*silent)), "03:00.0", "04:00.0").answer is BLOCKED
    unread = change(switch(NO_COMPLETIONS, CLOSED), "04:00.0", bars=Unknown("cut"))
    assert peer(scene(machine(*unread)), "03:00.0", "04:00.0").answer is DIRECT


@pytest.mark.parametrize(
    ("word", "ats", "expected"),
    [
        (acs("RR CR DT"), True, DIRECT),
        (acs("RR CR DT"), False, BLOCKED),
        (acs("RR CR DT"), None, BLOCKED),
        (acs("RR CR DT"), Unknown("cut"), POSSIBLE),
        (acs("RR CR DT TB"), True, BLOCKED),
        (acs("RR CR"), True, BLOCKED),
    ],
)
def test_translated_requests(word: Acs, ats: bool | Unknown | None, expected: Answer) -> None:
    fact = endpoint("03:00.0", ats=ats).ats
    found = scene(machine(*change(switch(word, CLOSED), "03:00.0", ats=fact)))
    assert peer(found, "03:00.0", "04:00.0").answer is expected


def test_that_nothing_is_marked_as_translated_without_ats_is_an_assumption() -> None:
    """DirectTrans asks for the mark only; ports do not know whose ATS is on."""
    word = acs("SV RR CR UF DT")
    found = peer(scene(machine(*switch(word, word))), "03:00.0", "04:00.0")
    assert (found.answer, set(found.assumptions)) == (BLOCKED, {TRANSLATED_WITHOUT_ATS})
    assert not peer(scene(machine(*switch(CLOSED, CLOSED))), "03:00.0", "04:00.0").assumptions


def test_egress_vectors_go_by_the_peers_port_number() -> None:
    word = acs("RR CR EC", ALL, vector=1 << 1)
    found = scene(machine(*switch(word, CLOSED, CLOSED)))
    assert peer(found, "03:00.0", "04:00.0").answer is BLOCKED, "port 1 is redirected"
    assert peer(found, "03:00.0", "05:00.0").answer is DIRECT, "port 2 is left open"
    unnumbered = change(switch(word, CLOSED), "02:01.0", port_number=Unknown("cut"))
    assert peer(scene(machine(*unnumbered)), "03:00.0", "04:00.0").answer is POSSIBLE


def test_no_bit_of_a_vector_is_for_what_is_no_port_of_the_component() -> None:
    """Port numbers of a function inside a switch, and of another root complex, may be those of other ports."""
    word = acs("SV CR UF EC", ALL, vector=0xFF)
    inside = replace(endpoint("02:1f.0", "01:00.0"), port_number=Known(1))
    assert peer(scene(machine(*switch(word, CLOSED), inside)), "03:00.0", "04:00.0").answer is BLOCKED
    assert peer(scene(machine(*switch(word, CLOSED), inside)), "03:00.0", "02:1f.0").answer is POSSIBLE
    far = [port("80:02.0", 0x81), endpoint("81:00.0", "80:02.0")]
    elsewhere = [replace(function, host_bridge="pci0000:80") for function in far]
    for other, expected in ((far, BLOCKED), (elsewhere, POSSIBLE)):
        assert peer(scene(machine(*slots(word), *other)), "01:00.0", "81:00.0").answer is expected
        integrated = endpoint("00:0a.0", port_type=PortType.ROOT_INTEGRATED, multifunction=True, acs=word)
        assert peer(scene(machine(integrated, *other)), "00:0a.0", "81:00.0").answer is POSSIBLE


def test_a_function_inside_a_switch_is_reached_like_a_port() -> None:
    inside = endpoint("02:1f.0", "01:00.0")
    found = scene(machine(*switch(OFF, CLOSED), inside))
    assert peer(found, "03:00.0", "02:1f.0").answer is DIRECT
    assert peer(found, "04:00.0", "02:1f.0").answer is BLOCKED


# -- on a conventional bus


def test_everybody_listens_on_a_conventional_bus() -> None:
    functions = [
        port("00:01.0", 1),
        port("01:00.0", 2, "00:01.0", PortType.PCIE_TO_PCI, acs=None),
        *(endpoint(f"02:0{n}.0", "01:00.0", port_type=PortType.CONVENTIONAL) for n in range(2)),
    ]
    for policy in Policy:
        assert peer(scene(machine(*functions)), "02:00.0", "02:01.0", policy).answer is DIRECT


@pytest.mark.parametrize("policy", Policy)
def test_a_bus_that_may_be_conventional(policy: Policy) -> None:
    functions = [
        port("00:01.0", 1, None, None, acs=Unknown("cut")),
        *(endpoint(f"01:0{n}.0", "00:01.0", port_type=PortType.CONVENTIONAL) for n in range(2)),
    ]
    assert peer(scene(machine(*functions)), "01:00.0", "01:01.0", policy).answer is POSSIBLE


# -- in the root complex


@pytest.mark.parametrize(
    ("word", "routing", "expected"),
    [
        (CLOSED, None, BLOCKED),
        (None, None, POSSIBLE),
        (None, RootRouting.DIRECT, DIRECT),
        (None, RootRouting.TRANSLATED, BLOCKED),
        (None, RootRouting.NONE, BLOCKED),
        (Unknown("cut"), None, POSSIBLE),
    ],
)
def test_between_root_ports(word: Acs | Unknown | None, routing: RootRouting | None, expected: Answer) -> None:
    assert peer(scene(machine(*slots(word, CLOSED), routing=routing)), "01:00.0", "02:00.0").answer is expected


def test_the_root_complex_is_an_assumption_of_policy_trusted_only() -> None:
    found = scene(machine(*slots(None, None)))
    assert peer(found, "01:00.0", "02:00.0", LINUX).answer is POSSIBLE
    trusted = peer(found, "01:00.0", "02:00.0", TRUSTED)
    assert (trusted.answer, set(trusted.assumptions)) == (BLOCKED, {Question.ROOT_COMPLEX.value})


def test_what_is_stated_of_one_host_bridge_is_not_stated_across_two() -> None:
    functions = [*slots(None, None), port("0001:00:01.0", 1, acs=None), endpoint("0001:01:00.0", "0001:00:01.0")]
    found = scene(machine(*functions, routing=RootRouting.DIRECT))
    assert peer(found, "01:00.0", "02:00.0").answer is DIRECT
    assert peer(found, "01:00.0", "0001:01:00.0").answer is POSSIBLE
    nothing = scene(machine(*functions, routing=RootRouting.NONE))
    assert peer(nothing, "01:00.0", "02:00.0").answer is BLOCKED
    assert peer(nothing, "01:00.0", "0001:01:00.0").answer is POSSIBLE


def test_what_is_stated_of_root_ports_is_not_stated_of_integrated_endpoints() -> None:
    inside = endpoint("00:0a.0", port_type=PortType.ROOT_INTEGRATED)
    found = scene(machine(*slots(None), inside, routing=RootRouting.DIRECT))
    assert peer(found, "00:0a.0", "01:00.0").answer is POSSIBLE
    assert peer(found, "01:00.0", "00:0a.0").answer is DIRECT
    functions = [*slots(None), inside, endpoint("00:0b.0", port_type=PortType.ROOT_INTEGRATED)]
    nothing = scene(machine(*functions, routing=RootRouting.NONE))
    pairs = (("00:0a.0", "00:0b.0"), ("00:0a.0", "01:00.0"), ("01:00.0", "00:0a.0"))
    assert {peer(nothing, *pair).answer for pair in pairs} == {POSSIBLE}


@pytest.mark.parametrize("routing", [None, *RootRouting])
@pytest.mark.parametrize("policy", Policy)
def test_a_port_that_the_record_does_not_hold_may_let_all_through(routing: RootRouting | None, policy: Policy) -> None:
    """Two cards below a hidden switch look as if they hung in the root complex."""
    clean = acs("", "")
    functions = [endpoint("03:00.0", "02:00.0", acs=clean), endpoint("04:00.0", "02:01.0", acs=clean), *slots(CLOSED)]
    found = scene(machine(*functions, routing=routing))
    assert peer(found, "03:00.0", "04:00.0", policy).answer is POSSIBLE
    assert peer(found, "03:00.0", "01:00.0", policy).answer is POSSIBLE


# -- where a record is odd


def test_what_has_others_below_it_and_is_no_bridge_may_reach_them() -> None:
    odd = replace(endpoint("00:01.0"), header=Unknown("cut"), port_type=Unknown("cut"), bridge=Unknown("cut"))
    found = scene(machine(odd, endpoint("01:00.0", "00:01.0")))
    assert peer(found, "00:01.0", "01:00.0").answer is POSSIBLE


# -- shortcuts


def test_turns_says_whether_any_traffic_may_turn() -> None:
    found = scene(machine(*switch(CLOSED, acs("RR"))))

    def turning(one: str, other: str) -> bool:
        return turns(found.topology, found.settings, at(one), at(other), at("01:00.0"))

    assert not turning("02:00.0", "02:01.0")
    assert turning("02:01.0", "02:00.0"), "completions"


@pytest.mark.parametrize(
    ("rom", "ports", "command", "expected"),
    [
        (None, False, Command.MEMORY | Command.IO, BLOCKED),
        (Rom(0x1000, 0x800, enabled=False), False, Command.MEMORY, BLOCKED),
        (Rom(0x1000, 0x800, enabled=True), False, Command.MEMORY, DIRECT),
        (Rom(0x1000, 0x800, enabled=True), False, Command(0), BLOCKED),
        (None, True, Command.IO, POSSIBLE),
        (None, True, Command.MEMORY, BLOCKED),
    ],
)
def test_what_has_no_memory_bars_may_have_other_addresses(
    rom: Rom | None, ports: bool, command: Command, expected: Answer
) -> None:
    """An expansion ROM answers while it is on; I/O requests are for those who send them."""
    bars = (Bar(0, 0xE000, 0x100, memory=False),) if ports else ()
    functions = change(
        switch(NO_COMPLETIONS, CLOSED), "04:00.0", bars=Known(bars), rom=Known(rom), command=Known(command)
    )
    found = scene(machine(*change(functions, "02:01.0", command=Known(ON | Command.IO))))
    assert peer(found, "03:00.0", "04:00.0").answer is expected
    joined = [c for c in Crossings(found.reach(), POSSIBLE).contacts() if at("04:00.0") in c.targets]
    assert {contact.answer for contact in joined if at("03:00.0") in contact.sources} == {expected} - {BLOCKED}


@pytest.mark.parametrize(
    ("class_code", "command", "expected"),
    [
        (0x010180, Command.IO, POSSIBLE),
        (0x010180, Command.MEMORY, BLOCKED),
        (0x010181, Command.IO, POSSIBLE),
        (0x010184, Command.IO, POSSIBLE),
        (0x010185, Command.IO, BLOCKED),
        (0x010100, Command.IO, POSSIBLE),
        (0x030000, Command.IO, POSSIBLE),
        (0x030000, Command.MEMORY, DIRECT),
        (0x000100, Command.IO, POSSIBLE),
        (0x030200, Command.IO | Command.MEMORY, BLOCKED),
        (UNTOLD_CLASS, Command.IO, POSSIBLE),
        (UNTOLD_CLASS, Command.MEMORY, DIRECT),
    ],
)
def test_some_answer_at_addresses_that_no_bar_tells(class_code: int, command: Command, expected: Answer) -> None:
    functions = change(
        switch(NO_COMPLETIONS, CLOSED), "04:00.0", bars=Known(()), class_code=class_code, command=Known(command)
    )
    found = scene(machine(*change(functions, "02:01.0", command=Known(ON | Command.IO))))
    assert peer(found, "03:00.0", "04:00.0").answer is expected
    joined = [c for c in Crossings(found.reach(), POSSIBLE).contacts() if at("04:00.0") in c.targets]
    assert {contact.answer for contact in joined if at("03:00.0") in contact.sources} == {expected} - {BLOCKED}


ON = Command.MEMORY | Command.MASTER
MEMORY, PORTS = Bar(0, 0x80000000, 0x1000, memory=True), Bar(1, 0xE000, 0x100, memory=False)


@pytest.mark.parametrize(
    ("bars", "port", "target", "expected"),
    [
        (Known((MEMORY, PORTS)), Command.IO, ON | Command.IO, POSSIBLE),
        (Known((MEMORY, PORTS)), Command.IO, ON, BLOCKED),
        (Known((MEMORY, PORTS)), ON, Command.IO, BLOCKED),
        (Known((MEMORY, PORTS)), ON | Command.IO, ON, DIRECT),
        (Known((MEMORY,)), Command.IO, ON | Command.IO, BLOCKED),
        (Known((PORTS,)), ON, Command.IO, BLOCKED),
        (Unknown("not numbered"), Command.IO, ON | Command.IO, POSSIBLE),
        (Unknown("not numbered"), ON | Command.IO, Command.IO, POSSIBLE),
    ],
)
def test_io_requests_pass_by_a_bit_of_their_own(
    bars: Fact[tuple[Bar, ...]], port: Command, target: Command, expected: Answer
) -> None:
    functions = change(switch(NO_COMPLETIONS, CLOSED), "04:00.0", bars=bars, command=Known(target))
    found = scene(machine(*change(functions, "02:01.0", command=Known(port))))
    assert peer(found, "03:00.0", "04:00.0").answer is expected
    joined = [c for c in Crossings(found.reach(), POSSIBLE).contacts() if at("04:00.0") in c.targets]
    assert {contact.answer for contact in joined if at("03:00.0") in contact.sources} == {expected} - {BLOCKED}
    virtual = replace(found.host.functions[at("04:00.0")], physical_function=at("04:00.1"))
    assert not found.topology.has_ports(virtual)


@pytest.mark.parametrize("blocking", ["02:00.0", "03:00.0", "02:01.0"])
def test_ports_with_acs_enhanced_may_block_io_requests(blocking: str) -> None:
    """Those that come up to them, a function's own bits say nothing."""
    functions = change(
        switch(NO_COMPLETIONS, NO_COMPLETIONS), "04:00.0", bars=Known((PORTS,)), command=Known(ON | Command.IO)
    )
    functions = change(functions, "02:01.0", command=Known(ON | Command.IO))
    word = replace(NO_COMPLETIONS, enhanced=AcsEnhanced.IO_BLOCK)
    found = scene(machine(*change(functions, blocking, acs=Known(word))))
    expected = BLOCKED if blocking == "02:00.0" else POSSIBLE
    assert peer(found, "03:00.0", "04:00.0").answer is expected
    assert peer(found, "04:00.0", "03:00.0").answer is DIRECT, "memory requests pass"
    joined = [c for c in Crossings(found.reach(), POSSIBLE).contacts() if at("04:00.0") in c.targets]
    assert {contact.answer for contact in joined if at("03:00.0") in contact.sources} == {expected} - {BLOCKED}
