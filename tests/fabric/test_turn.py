"""The decision table of ACS, row by row (PCI Express Base Specification 6.12.1)."""

from __future__ import annotations

from dataclasses import replace

import pytest
from reach_hosts import ALL, acs, endpoint, flags, machine, port, scene

from atoll.fabric.answer import Answer, Policy, Question
from atoll.fabric.settings import Settings
from atoll.fabric.statement import VENDOR_STATEMENT
from atoll.fabric.turn import Bit, Component, Traffic, Turn, bit, turn
from atoll.host.fact import Unknown
from atoll.host.model import Function, RootRouting
from atoll.pci.acs import Acs, AcsFlag
from atoll.pci.header import PortType

DIRECT, POSSIBLE, BLOCKED = Answer.DIRECT, Answer.POSSIBLE, Answer.BLOCKED
PLAIN, TRANSLATED, COMPLETION = Traffic.UNTRANSLATED, Traffic.TRANSLATED, Traffic.COMPLETION
PEER = 3
HERE, OTHER = 1 << PEER, ~(1 << PEER) & 0xFF


def settled(function: Function) -> tuple[Function, Settings]:
    """A function and the settings of a host that has it alone."""
    found = scene(machine(function))
    return found.topology.functions[function.address], found.settings


def decided(
    word: Acs | Unknown | None,
    traffic: Traffic,
    component: Component = Component.SWITCH,
    *,
    egress: int | None = PEER,
    routing: RootRouting | None = None,
) -> Turn:
    """What a port with this ACS decides."""
    kind = PortType.ROOT_PORT if component is Component.ROOT else PortType.DOWNSTREAM
    function, settings = settled(port("00:01.0", 1, None, kind, acs=word))
    return turn(function, settings, traffic, component, egress=egress, routing=routing)


@pytest.mark.parametrize(
    ("control", "vector", "plain", "translated", "completion"),
    [
        ("", 0, DIRECT, DIRECT, DIRECT),
        ("SV", 0, DIRECT, DIRECT, DIRECT),
        ("TB", 0, DIRECT, DIRECT, DIRECT),
        ("UF", 0, DIRECT, DIRECT, DIRECT),
        ("RR", 0, BLOCKED, BLOCKED, DIRECT),
        ("CR", 0, DIRECT, DIRECT, BLOCKED),
        ("RR CR", 0, BLOCKED, BLOCKED, BLOCKED),
        ("DT", 0, DIRECT, DIRECT, DIRECT),
        ("RR CR DT", 0, BLOCKED, DIRECT, BLOCKED),
        ("EC CR", HERE, BLOCKED, BLOCKED, BLOCKED),
        ("EC CR", OTHER, DIRECT, DIRECT, BLOCKED),
        ("RR EC CR", HERE, BLOCKED, BLOCKED, BLOCKED),
        ("RR EC CR", OTHER, DIRECT, DIRECT, BLOCKED),
        ("EC DT CR", HERE, BLOCKED, DIRECT, BLOCKED),
        ("RR EC DT CR", HERE, BLOCKED, DIRECT, BLOCKED),
        ("RR EC", HERE, BLOCKED, BLOCKED, DIRECT),
        (ALL, HERE, BLOCKED, DIRECT, BLOCKED),
    ],
)
@pytest.mark.parametrize("component", [Component.SWITCH, Component.DEVICE])
def test_control_bits(
    control: str, vector: int, plain: Answer, translated: Answer, completion: Answer, component: Component
) -> None:
    word = acs(control, ALL, vector=vector)
    assert [decided(word, traffic, component).answer for traffic in Traffic] == [plain, translated, completion]


@pytest.mark.parametrize(
    ("capability", "plain", "translated", "completion"),
    [
        ("", BLOCKED, BLOCKED, BLOCKED),
        ("SV TB UF", BLOCKED, BLOCKED, BLOCKED),
        ("RR", DIRECT, DIRECT, POSSIBLE),
        ("CR", POSSIBLE, POSSIBLE, DIRECT),
        ("DT", POSSIBLE, POSSIBLE, POSSIBLE),
        ("EC", POSSIBLE, POSSIBLE, POSSIBLE),
        ("RR CR", DIRECT, DIRECT, DIRECT),
    ],
)
def test_a_bit_that_is_not_implemented_means_no_such_routing(
    capability: str, plain: Answer, translated: Answer, completion: Answer
) -> None:
    """All implemented bits are off. One that only routing to peers needs contradicts that there is none (6.12.1.2)."""
    word = acs("", capability)
    assert [decided(word, traffic).answer for traffic in Traffic] == [plain, translated, completion]


def test_egress_control_without_redirection_contradicts_itself() -> None:
    """Egress control is for routing to peers, and such routing asks for ReqRedir: a port that has one is no proof."""
    off = acs("", "SV EC")
    assert [decided(off, traffic).answer for traffic in Traffic] == [POSSIBLE, POSSIBLE, POSSIBLE]
    assert decided(acs("EC", "EC", vector=OTHER), PLAIN).answer is DIRECT
    blocking = acs("EC", "EC", vector=HERE)
    told = [decided(blocking, traffic).answer for traffic in Traffic]
    assert told == [BLOCKED, BLOCKED, POSSIBLE], "its vector is about requests"
    assert decided(off, PLAIN, Component.ROOT, routing=RootRouting.NONE).answer is BLOCKED
    assert decided(off, PLAIN, Component.ROOT, routing=RootRouting.DIRECT).answer is POSSIBLE


def test_a_control_bit_without_capability_counts_for_nothing() -> None:
    """Reserved bits may read as anything: EC and DT that are not implemented open nothing, RR closes nothing more."""
    word = acs("EC DT RR", "RR CR")
    assert decided(word, TRANSLATED).answer is BLOCKED
    assert decided(acs("RR", "SV"), PLAIN).because.endswith("it does no such routing")


def test_no_acs() -> None:
    assert decided(None, PLAIN).answer is DIRECT, "in a switch nothing redirects"
    inside = decided(None, PLAIN, Component.DEVICE)
    assert (inside.answer, inside.question) == (POSSIBLE, Question.MULTIFUNCTION)
    root = decided(None, PLAIN, Component.ROOT)
    assert (root.answer, root.question) == (POSSIBLE, Question.ROOT_COMPLEX)


@pytest.mark.parametrize("component", Component)
@pytest.mark.parametrize("traffic", Traffic)
def test_acs_that_was_not_read_is_open_under_every_policy(component: Component, traffic: Traffic) -> None:
    found = decided(Unknown("cut to 64 bytes"), traffic, component)
    assert (found.answer, found.question, found.assumption) == (POSSIBLE, None, None)


@pytest.mark.parametrize("traffic", Traffic)
def test_a_control_word_that_was_not_read_is_open(traffic: Traffic) -> None:
    function, settings = settled(port("00:01.0", 1, None, PortType.DOWNSTREAM, acs=acs("RR CR")))
    unread = replace(settings, acs={function.address: None})
    assert turn(function, unread, traffic, Component.SWITCH, egress=PEER).answer is POSSIBLE


@pytest.mark.parametrize(("vector", "egress"), [(None, PEER), (HERE, None), (None, None)])
@pytest.mark.parametrize("component", [Component.SWITCH, Component.DEVICE])
def test_an_egress_vector_or_number_that_was_not_read_is_open(
    vector: int | None, egress: int | None, component: Component
) -> None:
    word = replace(acs("RR EC", ALL), egress_vector=vector)
    found = decided(word, PLAIN, component, egress=egress)
    assert (found.answer, found.question) == (POSSIBLE, None)
    assert decided(word, COMPLETION, component, egress=egress).answer is DIRECT, "the vector is for requests"


@pytest.mark.parametrize(
    ("word", "routing", "expected"),
    [
        (acs("RR CR"), RootRouting.DIRECT, BLOCKED),
        (acs("RR CR"), None, BLOCKED),
        (acs(""), RootRouting.TRANSLATED, BLOCKED),
        (acs(""), RootRouting.NONE, BLOCKED),
        (acs(""), RootRouting.DIRECT, DIRECT),
        (acs(""), None, POSSIBLE),
        (None, RootRouting.TRANSLATED, BLOCKED),
        (None, RootRouting.NONE, BLOCKED),
        (None, RootRouting.DIRECT, DIRECT),
        (None, None, POSSIBLE),
        (acs("", ""), RootRouting.DIRECT, POSSIBLE),
        (Unknown("cut"), RootRouting.TRANSLATED, BLOCKED),
        (Unknown("cut"), RootRouting.NONE, BLOCKED),
        (Unknown("cut"), RootRouting.DIRECT, POSSIBLE),
        (Unknown("cut"), None, POSSIBLE),
        (acs("EC", ALL, vector=HERE), RootRouting.DIRECT, BLOCKED),
        (acs("EC", ALL, vector=OTHER), RootRouting.DIRECT, DIRECT),
        (acs("EC", ALL), RootRouting.DIRECT, POSSIBLE),
        (acs("EC", ALL), RootRouting.TRANSLATED, BLOCKED),
    ],
)
def test_root_complex(word: Acs | Unknown | None, routing: RootRouting | None, expected: Answer) -> None:
    assert decided(word, PLAIN, Component.ROOT, routing=routing).answer is expected


def test_only_what_the_specification_leaves_open_is_a_question() -> None:
    """A policy may answer questions; what was merely not read stays open."""
    assert decided(acs(""), PLAIN, Component.ROOT).question is Question.ROOT_COMPLEX
    assert decided(acs("EC", ALL), PLAIN, Component.ROOT, routing=RootRouting.DIRECT).question is None


def test_direct_translation_does_not_make_a_host_bridge_route() -> None:
    word = acs("RR CR DT", ALL)
    assert decided(word, TRANSLATED, Component.ROOT, routing=RootRouting.TRANSLATED).answer is BLOCKED
    assert decided(word, TRANSLATED, Component.ROOT, routing=RootRouting.DIRECT).answer is DIRECT


def test_a_vendors_statement_stands_in_for_acs_and_is_told() -> None:
    """Intel's network adapters (drivers/pci/quirks.c ``pci_quirk_mf_endpoint_acs``)."""
    function, settings = settled(endpoint("01:00.0", ids=(0x8086, 0x10C9), multifunction=True))
    found = turn(function, settings, PLAIN, Component.DEVICE)
    assert (found.answer, found.assumption) == (BLOCKED, VENDOR_STATEMENT)
    assert bit(function, settings, AcsFlag.RR) is Bit.STATED
    assert bit(function, settings, AcsFlag.EC) is Bit.NO_ACS, "not among what is stated"


@pytest.mark.parametrize(
    ("word", "flag", "expected"),
    [
        (acs("SV"), AcsFlag.SV, Bit.ON),
        (acs(""), AcsFlag.SV, Bit.OFF),
        (acs("", "RR"), AcsFlag.SV, Bit.ABSENT),
        (None, AcsFlag.SV, Bit.NO_ACS),
        (Unknown("cut"), AcsFlag.SV, Bit.UNREAD),
    ],
)
def test_states_of_a_bit(word: Acs | Unknown | None, flag: AcsFlag, expected: Bit) -> None:
    assert bit(*settled(port("00:01.0", 1, acs=word)), flag) is expected


def test_settings_decide_not_the_record() -> None:
    function, settings = settled(port("00:01.0", 1, acs=acs("")))
    assert bit(function, settings.with_acs(function.address, flags("RR")), AcsFlag.RR) is Bit.ON


@pytest.mark.parametrize(
    ("question", "still_open"),
    [
        (q, {Policy.STRICT} | ({Policy.LINUX} if q.value in linux else set()))
        for q, linux in (
            (Question.ROOT_COMPLEX, {"root-complex"}),
            (Question.MULTIFUNCTION, {"multifunction-without-acs"}),
            (Question.PORT_BAR, set()),
            (Question.VIRTUAL_FUNCTION, set()),
            (Question.HONEST_ATS, {"honest-ats"}),
        )
    ],
)
def test_policies(question: Question, still_open: set[Policy]) -> None:
    assert {policy for policy in Policy if question.open_under(policy)} == still_open


@pytest.mark.parametrize("traffic", Traffic)
def test_a_root_complex_stated_to_route_is_not_gainsaid_by_what_its_port_lacks(traffic: Traffic) -> None:
    """Two facts that disagree leave it open."""
    for word in (acs("SV", "SV"), acs("", "")):
        assert decided(word, traffic, Component.ROOT, routing=RootRouting.DIRECT).answer is POSSIBLE
        assert decided(word, traffic, Component.ROOT).answer is BLOCKED
        assert decided(word, traffic).answer is BLOCKED
    function, settings = settled(port("00:01.0", 1, acs=None, ids=(0x1C36, 0x0031)))
    stated = turn(function, settings, traffic, Component.ROOT, routing=RootRouting.DIRECT)
    assert (stated.answer, stated.assumption) == (POSSIBLE, None)
