"""Traffic inside a device: between its functions, physical and virtual."""

from __future__ import annotations

from dataclasses import replace

import pytest
from reach_hosts import ALL, CLOSED, OFF, Scene, acs, at, endpoint, machine, peer, port, scene, switch

from atoll.fabric.answer import Answer, Policy, Question
from atoll.host.fact import Known, Unknown
from atoll.host.model import RootRouting
from atoll.isolation.contacts.crossing import Crossings
from atoll.pci.acs import Acs
from atoll.pci.ari import Ari
from atoll.pci.header import Command, PortType

DIRECT, POSSIBLE, BLOCKED = Answer.DIRECT, Answer.POSSIBLE, Answer.BLOCKED
STRICT, LINUX, TRUSTED = Policy.STRICT, Policy.LINUX, Policy.TRUSTED


def device(*words: Acs | Unknown | None, **fields: object) -> Scene:
    functions = [
        replace(endpoint(f"01:00.{n}", "00:01.0", multifunction=True, acs=word), **fields)  # type: ignore[arg-type]
        for n, word in enumerate(words)
    ]
    return scene(machine(port("00:01.0", 1), *functions))


@pytest.mark.parametrize(
    ("word", "strict", "linux", "trusted"),
    [
        (None, POSSIBLE, POSSIBLE, BLOCKED),
        (Unknown("cut"), POSSIBLE, POSSIBLE, POSSIBLE),
        (acs("", ""), BLOCKED, BLOCKED, BLOCKED),
        (OFF, DIRECT, DIRECT, DIRECT),
        (acs("RR CR"), BLOCKED, BLOCKED, BLOCKED),
    ],
)
def test_functions_of_a_device(word: Acs | Unknown | None, strict: Answer, linux: Answer, trusted: Answer) -> None:
    found = device(word, acs("", ""))
    for policy, expected in ((STRICT, strict), (LINUX, linux), (TRUSTED, trusted)):
        assert peer(found, "01:00.0", "01:00.1", policy).answer is expected, policy
    assert peer(found, "01:00.1", "01:00.0").answer is BLOCKED
    taken = peer(device(None, None), "01:00.0", "01:00.1", TRUSTED)
    assert taken.assumptions == {Question.MULTIFUNCTION.value}


@pytest.mark.parametrize(
    ("ari", "expected"), [(Known(False), BLOCKED), (Known(True), POSSIBLE), (Unknown("?"), POSSIBLE)]
)
def test_egress_vectors_of_functions(ari: Known[bool] | Unknown, expected: Answer) -> None:
    """Ports forward by numbers of eight bits for devices that have ARI: one that has none, and all the same, is odd."""
    word = acs("RR CR EC", ALL, vector=1 << 1)
    found = device(word, CLOSED, CLOSED, ari=ari)
    assert peer(found, "01:00.0", "01:00.1").answer is expected
    assert peer(found, "01:00.0", "01:00.2").answer is (DIRECT if expected is BLOCKED else POSSIBLE)


def test_egress_vectors_of_functions_may_be_of_groups_where_the_port_above_forwards_without_ari() -> None:
    word = replace(acs("RR CR EC", ALL, vector=1 << 1), ari=Ari(None, None))
    assert peer(device(word, CLOSED, ari=Known(False)), "01:00.0", "01:00.1").answer is POSSIBLE
    virtual = endpoint("01:00.1", "00:01.0", physical="01:00.0")
    functions = [endpoint("01:00.0", "00:01.0", multifunction=True, acs=word), virtual]
    found = scene(machine(port("00:01.0", 1), *(replace(f, ari=Known(False)) for f in functions)))
    assert peer(found, "01:00.1", "01:00.0").answer is POSSIBLE


def test_who_may_be_in_a_group_is_not_asked_for_together_with_who_is_not() -> None:
    word = acs("RR CR EC", ALL, vector=1 << 2)
    found = device(word, replace(word, ari=Ari(None, None)), CLOSED, ari=Known(False))
    joined = [c for c in Crossings(found.reach(), POSSIBLE).contacts() if at("01:00.2") in c.targets]
    assert {contact.answer for contact in joined if at("01:00.1") in contact.sources} == {POSSIBLE}
    assert not [contact for contact in joined if at("01:00.0") in contact.sources]


def wide(places: dict[str, Ari | None], *, vector: int, virtual: bool = False) -> Scene:
    """A device with ARI, each of whose functions has egress control on; virtual ones are of function 0, and have it
    too with ``virtual``.
    """
    functions = [port("00:01.0", 1)]
    for place, ari in places.items():
        own = place in ("01:00.0", "01:00.1", "01:01.0")
        word = replace(acs("RR CR EC", ALL, vector=vector), ari=ari) if own or virtual else None
        made = endpoint(place, "00:01.0", multifunction=own, acs=word, physical=None if own else "01:00.0")
        functions.append(replace(made, ari=Known(True)))
    return scene(machine(*functions))


@pytest.mark.parametrize("ari", [Known(True), Known(False), Unknown("?")])
def test_with_ari_bits_of_egress_vectors_stand_for_numbers_of_eight_bits(ari: Known[bool] | Unknown) -> None:
    own: Ari | None = Ari(False, 0)
    found = wide(dict.fromkeys(("01:00.0", "01:00.1", "01:01.0", "01:02.0", "02:00.0"), own), vector=1 << 8)
    functions = {a: replace(f, ari=ari) for a, f in found.host.functions.items()}
    found = scene(replace(found.host, functions=functions))
    for one in ("01:00.0", "01:00.1", "01:02.0"):
        assert peer(found, one, "01:01.0").answer is BLOCKED, one
    assert peer(found, "01:00.0", "01:00.1").answer is DIRECT
    assert peer(found, "01:00.0", "01:02.0").answer is DIRECT, "a virtual function on the same bus has such a number"
    assert peer(found, "01:00.0", "02:00.0").answer is POSSIBLE, "none is known for what is on another bus"
    assert peer(found, "02:00.0", "01:01.0").answer is POSSIBLE


@pytest.mark.parametrize(("groups", "first", "last"), [(True, BLOCKED, DIRECT), (None, POSSIBLE, POSSIBLE)])
def test_bits_of_egress_vectors_stand_for_groups_where_function_0_says_so(
    groups: bool | None, first: Answer, last: Answer
) -> None:
    places: dict[str, Ari | None] = {
        "01:00.0": Ari(groups, 0),
        "01:00.1": Ari(False, 5),
        "01:01.0": Ari(False, 1),
        "01:02.0": Ari(False, 5),
    }
    found = wide(places, vector=1 << 5 | 1 << 8)
    assert peer(found, "01:00.0", "01:00.1").answer is first
    assert peer(found, "01:00.0", "01:01.0").answer is last
    words = dict.fromkeys(("01:02.0", "02:00.0", "02:00.1"), Ari(False, 5))
    for virtual in (found, wide({**places, **words}, vector=1 << 5 | 1 << 8, virtual=True)):
        assert peer(virtual, "01:00.0", "01:02.0").answer is POSSIBLE, "of virtual functions no group is known"
    assert peer(virtual, "02:00.1", "02:00.0").answer is POSSIBLE, "nor is one function 0 of what has groups"
    untold = wide({**places, "01:00.1": Ari(False, None)}, vector=1 << 5)
    assert peer(untold, "01:00.0", "01:00.1").answer is POSSIBLE
    without = wide({place: ari for place, ari in places.items() if place != "01:00.0"}, vector=1 << 5)
    assert peer(without, "01:01.0", "01:00.1").answer is POSSIBLE, "what function 0 says was not read"


def test_egress_vectors_do_not_tell_of_virtual_functions_on_other_buses() -> None:
    """Without ARI a virtual function 02:00.1 is no function 1 of the device 01:00."""
    word = acs("CR EC", ALL, vector=0xFF)
    functions = [endpoint("01:00.0", "00:01.0", multifunction=True, acs=word)]
    functions += [endpoint(place, "00:01.0", physical="01:00.0") for place in ("01:00.1", "02:00.1")]
    found = scene(machine(port("00:01.0", 1), *(replace(f, ari=Known(False)) for f in functions)))
    assert peer(found, "01:00.0", "01:00.1").answer is BLOCKED
    assert peer(found, "01:00.0", "02:00.1").answer is POSSIBLE


def virtual(word: Acs | Unknown | None, own: Acs | None = None, *, physical: bool = True) -> Scene:
    functions = [port("00:01.0", 1)]
    if physical:
        functions.append(endpoint("01:00.0", "00:01.0", acs=word))
    for n in (1, 2):
        one = endpoint(f"01:00.{n}", "00:01.0", acs=own, physical="01:00.0", memory=False)
        functions.append(replace(one, command=Known(Command.MASTER)))
    return scene(machine(*functions))


@pytest.mark.parametrize(
    ("word", "own", "expected", "trusted"),
    [
        (None, None, POSSIBLE, BLOCKED),
        (OFF, None, DIRECT, DIRECT),
        (CLOSED, None, BLOCKED, BLOCKED),
        (Unknown("cut"), None, POSSIBLE, POSSIBLE),
        (OFF, CLOSED, BLOCKED, BLOCKED),
        (CLOSED, OFF, DIRECT, DIRECT),
    ],
)
def test_virtual_functions(word: Acs | Unknown | None, own: Acs | None, expected: Answer, trusted: Answer) -> None:
    """Their physical function's ACS decides where they have none; their own BARs and memory enable read as zero."""
    found = virtual(word, own)
    assert peer(found, "01:00.1", "01:00.2").answer is expected
    assert peer(found, "01:00.1", "01:00.2", TRUSTED).answer is trusted


def test_virtual_functions_whose_physical_function_was_not_read() -> None:
    found = virtual(None, physical=False)
    assert peer(found, "01:00.1", "01:00.2").answer is POSSIBLE
    assert peer(found, "01:00.1", "01:00.2", TRUSTED).assumptions == {Question.VIRTUAL_FUNCTION.value}


def test_functions_of_an_integrated_device_are_a_device() -> None:
    pair = [endpoint(f"00:0a.{n}", port_type=PortType.ROOT_INTEGRATED, multifunction=True) for n in range(2)]
    found = peer(scene(machine(*pair, routing=RootRouting.TRANSLATED)), "00:0a.0", "00:0a.1")
    assert found.answer is POSSIBLE, "what host bridges translate does not count inside a device"


def test_a_virtual_function_answers_whatever_its_own_register_says() -> None:
    """Its Memory Space Enable is hardwired to zero (Base Specification 9.3.4.1.3): the physical one's decides."""
    virtual = endpoint("04:00.1", "02:01.0", physical="04:00.0", command=Command(0))
    found = scene(machine(*switch(acs("SV CR UF"), CLOSED), virtual))
    assert peer(found, "03:00.0", "04:00.1").answer is Answer.DIRECT
