"""Links outside PCIe as edges: what is open, what closes it, what is not known."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import pytest
from reach_hosts import Scene, at, clusters, endpoint, gpu, links, machine, scene

from atoll.fabric.answer import Answer, Policy
from atoll.fabric.links import (
    NPU_UNCONFIGURED,
    across_links,
    between,
    far_end,
    into_system,
    is_open,
    near_end,
    open_links,
)
from atoll.fabric.settings import Domain, DomainKind
from atoll.host.fact import Known, Unknown
from atoll.host.model import EndKind, Link, LinkEnd, LinkKind, NpuBrick, Platform, Register
from atoll.isolation.contacts.host import contacts
from atoll.isolation.handover import links_to_cut

A, B, C = at("01:00.0"), at("02:00.0"), at("03:00.0")
DIRECT, POSSIBLE, IOMMU, BLOCKED = Answer.DIRECT, Answer.POSSIBLE, Answer.IOMMU, Answer.BLOCKED
PAIR = links("01:00.0", "02:00.0", (0, 3), (1, 2))
MASK = Register(0, 0xA00148)


def gpus(wires: Iterable[Link] = PAIR, *, told: Iterable[str] | None = None, **masks: int) -> Scene:
    """Three V100 at 01:00.0, 02:00.0, 03:00.0, with these disable masks: ``a=0x10000``."""
    places = {"a": "01:00.0", "b": "02:00.0", "c": "03:00.0"}
    mask = {places[name]: value for name, value in masks.items()}
    return scene(machine(*(gpu(place) for place in places.values()), links=wires, told=told, masks=mask))


def test_what_may_be_of_several_kinds_is_called_by_the_first_and_other() -> None:
    """Of GPUs whose maker a record does not show; the first by name would be Moore Threads'."""
    hidden = [
        replace(endpoint(end, class_code=0x030200), possible_ids=((None, None),)) for end in ("01:00.0", "02:00.0")
    ]
    found = scene(machine(*hidden))
    (hop,) = across_links(found.topology, found.settings, A, B).path
    assert hop.via == "nvlink or other"


def answer(found: Scene, one: str = "01:00.0", other: str = "02:00.0") -> Answer:
    return across_links(found.topology, found.settings, at(one), at(other)).answer


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        (0, 0, DIRECT),
        (0x30000, 0, BLOCKED),
        (0, 0xC0000, BLOCKED),
        (0x10000, 0, DIRECT),
        (0x10000, 0x40000, BLOCKED),  # link 0 here, its other end's neighbour 2 there: one of each pair
        (0x10000, 0x80000, DIRECT),  # both ends of the same link
        (0x3C0000, 0x330000, DIRECT),  # other links
        (0x3F0000, 0x3F0000, BLOCKED),
    ],
)
def test_one_cut_end_closes_a_link_both_ways(a: int, b: int, expected: Answer) -> None:
    found = gpus(a=a, b=b)
    assert answer(found) is answer(found, "02:00.0", "01:00.0") is expected


def test_the_witness_names_an_open_link_and_both_numbers() -> None:
    found = gpus(a=0x10000)
    (hop,) = across_links(found.topology, found.settings, A, B).path
    assert (hop.at, hop.via) == (str(A), "nvlink link 1")
    assert hop.because.endswith(f"{B} link 2")


@pytest.mark.parametrize(
    "register", [Unknown("BAR0 was not read"), Known(0xBADF1100), Known(0xBAD00200), Known(2**32 - 1)]
)
def test_a_mask_that_was_not_read_is_open(register: Known[int] | Unknown) -> None:
    host = gpus().host
    found = scene(replace(host, registers={**host.registers, (A, MASK): register}))
    assert answer(found) is POSSIBLE
    closed = scene(replace(gpus(b=0xC0000).host, registers={**gpus(b=0xC0000).host.registers, (A, MASK): register}))
    assert answer(closed) is BLOCKED, "the other end is cut for sure"


UNTOLD = links("01:00.0", "02:00.0", (0, 3), (1, 2), (4, 5), told=False)


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        (0, 0, DIRECT),
        (0x10000, 0, DIRECT),  # two are open whatever the pairing
        (0x10000, 0x80000, DIRECT),  # at most two closed
        (0x30000, 0x080000, POSSIBLE),  # two here, one there: may be all three
        (0x30000, 0x200000, POSSIBLE),
        (0x30000, 0x100000, DIRECT),  # link 4 there is none of the three
        (0x130000, 0, BLOCKED),
        (0, 0x2C0000, BLOCKED),
        (0x030000, 0x0C0000, POSSIBLE),
    ],
)
def test_parallel_links_that_no_source_paired(a: int, b: int, expected: Answer) -> None:
    """They count as cut only if all of them are cut at one end."""
    found = gpus(UNTOLD, a=a, b=b)
    assert answer(found) is answer(found, "02:00.0", "01:00.0") is expected


def test_a_link_without_numbers_is_open_until_nothing_is_cut() -> None:
    wires = links("01:00.0", "02:00.0", (None, None))
    assert answer(gpus(wires)) is DIRECT
    assert answer(gpus(wires, a=0x10000)) is POSSIBLE, "which link the bit closes is not known"


def test_no_record_of_a_link_is_not_no_link() -> None:
    assert answer(gpus((), told=())) is POSSIBLE
    assert answer(gpus((), told=("01:00.0",))) is BLOCKED, "one end told all its links"
    assert answer(gpus((), told=(), a=0x3F0000)) is POSSIBLE
    other = scene(machine(gpu("01:00.0"), endpoint("02:00.0", ids=(0x1002, 0x74A1)), told=()))
    assert answer(other) is BLOCKED, "of another family"


def test_a_virtual_function_may_use_its_physical_functions_links() -> None:
    a100 = (0x10DE, 0x20B0)
    functions = [
        *(endpoint(place, ids=a100, class_code=0x030200) for place in ("01:00.0", "02:00.0", "03:00.0")),
        endpoint("01:00.4", ids=a100, class_code=0x030200, physical="01:00.0"),
        endpoint("02:00.4", ids=a100, class_code=0x030200, physical="02:00.0"),
        endpoint("01:00.5", ids=a100, class_code=0x030200, physical="01:00.0"),
    ]
    told = ("01:00.0", "02:00.0", "03:00.0")
    found = scene(machine(*functions, links=PAIR, told=told))
    assert answer(found) is DIRECT
    for one, other in (("01:00.4", "02:00.0"), ("02:00.0", "01:00.4"), ("01:00.4", "02:00.4")):
        assert answer(found, one, other) is POSSIBLE
    for one, other in (("01:00.4", "03:00.0"), ("03:00.0", "02:00.4")):
        assert answer(found, one, other) is BLOCKED, "all links of 03:00.0 are told: it has none"
    pairs = {pair for contact in contacts(found.reach(Policy.STRICT), least=POSSIBLE) for pair in contact.pairs()}
    assert {(at("01:00.4"), B), (B, at("01:00.4"))} <= pairs


def test_links_of_others_are_no_links_between_two() -> None:
    found = gpus()
    assert between(found.topology, A, B) == PAIR
    assert between(found.topology, A, C) == ()
    assert answer(found, "01:00.0", "03:00.0") is BLOCKED


def test_ends() -> None:
    link = PAIR[0]
    assert (near_end(link, A), far_end(link, A)) == (link.a, link.b)
    assert (near_end(link, B), far_end(link, B)) == (link.b, link.a)
    assert is_open(gpus(a=0x10000).settings, link) is False
    assert open_links(gpus().settings, PAIR, A) == (DIRECT, link)


def chip(name: str, kind: EndKind = EndKind.SWITCH) -> tuple[Link, ...]:
    return tuple(link for place in ("01:00.0", "02:00.0") for link in links(place, kind, (0, None), name=name))


def test_over_a_switch_chip() -> None:
    assert answer(gpus(chip("nvs0"))) is DIRECT
    assert answer(gpus(chip("nvs0"), a=0x10000)) is BLOCKED
    assert answer(gpus(chip("nvs0"), b=0x10000)) is BLOCKED
    three = ("01:00.0", "02:00.0", "03:00.0")
    assert answer(gpus(chip("nvs0"), told=three), "01:00.0", "03:00.0") is BLOCKED, "the third has no link to it"


@pytest.mark.parametrize("kind", [EndKind.SWITCH, EndKind.UNKNOWN, EndKind.OUTSIDE])
def test_what_no_source_told_the_links_of_may_hang_on_the_same_chip(kind: EndKind) -> None:
    """One GPU's driver tells its links, another is bound to vfio-pci, and nothing tells those of that one."""
    wires = links("01:00.0", kind, (0, None), name="nvs0")
    found = gpus(wires)
    assert answer(found) is answer(found, "02:00.0", "01:00.0") is POSSIBLE
    assert answer(gpus(wires, a=0x10000)) is BLOCKED
    assert answer(gpus(wires, told=("01:00.0", "02:00.0"))) is BLOCKED, "the other one has none"
    stranger = scene(machine(gpu("01:00.0"), endpoint("02:00.0", ids=(0x1002, 0x74A1)), links=wires))
    assert answer(stranger) is BLOCKED, "of another family"
    owner = clusters(found.host, a="01:00.0", b="02:00.0").cluster_of(found.topology.functions)
    assert links_to_cut(found.topology, owner, A) == {0}


@pytest.mark.parametrize("kind", [EndKind.UNKNOWN, EndKind.OUTSIDE])
def test_ends_that_are_not_known_may_meet(kind: EndKind) -> None:
    assert answer(gpus(chip("", kind))) is POSSIBLE
    nameless = gpus(chip("", EndKind.SWITCH))
    assert answer(nameless) is POSSIBLE, "a chip without a name may be another"
    (hop,) = across_links(nameless.topology, nameless.settings, at("01:00.0"), at("02:00.0")).path
    assert hop.because == "both have a link to a switch that no source names"


def test_chips_may_be_joined_among_themselves() -> None:
    """HGX-2, HGX A100 and NVL72 join switches to switches; records of GPUs do not show it."""
    wires = (
        *links("01:00.0", EndKind.SWITCH, (0, None), name="nvs0"),
        *links("02:00.0", EndKind.SWITCH, (0, None), name="nvs1"),
    )
    assert answer(gpus(wires)) is POSSIBLE
    assert answer(gpus(wires, a=0x10000)) is BLOCKED
    found = gpus(wires)
    owner = clusters(found.host, a="01:00.0", b="02:00.0").cluster_of(found.topology.functions)
    assert links_to_cut(found.topology, owner, A) == {0}, "so they are cut, too"


CPU = links("01:00.0", EndKind.CPU, (1, 0))


def system(domain: Domain | None, *, a: int = 0, wires: Iterable[Link] = CPU) -> tuple[Answer, frozenset[str]]:
    found = gpus(wires, told=("01:00.0",), a=a)
    settings = found.settings if domain is None else replace(found.settings, cpu_links={A: domain})
    finding = into_system(found.topology, settings, A)
    return finding.answer, finding.assumptions


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        (DomainKind.TRANSLATED, IOMMU),
        (DomainKind.IDENTITY, DIRECT),
        (DomainKind.NONE, DIRECT),
        (DomainKind.UNKNOWN, POSSIBLE),
        (DomainKind.BLOCKED, BLOCKED),
    ],
)
def test_links_to_the_processor_are_as_its_bridge_translates(kind: DomainKind, expected: Answer) -> None:
    assert system(Domain(kind))[0] is expected
    assert system(Domain(kind), a=0x20000)[0] is BLOCKED, "cut by whoever"


@pytest.mark.parametrize(
    ("kind", "expected"),
    [(DomainKind.TRANSLATED, IOMMU), (DomainKind.IDENTITY, POSSIBLE), (DomainKind.UNKNOWN, POSSIBLE)],
)
def test_links_to_the_processor_that_may_be_cut_may_be_open(kind: DomainKind, expected: Answer) -> None:
    found = gpus(CPU, told=("01:00.0",))
    settings = replace(found.settings, cpu_links={A: Domain(kind)}, cut={A: None})
    assert into_system(found.topology, settings, A).answer is expected


def test_links_to_the_processor_without_facts() -> None:
    assert system(None) == (POSSIBLE, frozenset())
    assert system(Domain(DomainKind.BLOCKED))[1] == {NPU_UNCONFIGURED}
    assert system(None, wires=()) == (BLOCKED, frozenset())


def test_untold_links_of_a_board_for_power() -> None:
    host = replace(gpus((), told=()).host, platform=Platform.POWERNV)
    found = scene(host)
    assert into_system(found.topology, found.settings, A).answer is POSSIBLE
    told = scene(replace(host, links_told=frozenset({A})))
    assert into_system(told.topology, told.settings, A).answer is BLOCKED


def test_an_npu_function_sends_what_its_gpu_sends_over_it() -> None:
    brick = at("0007:00:00.0")
    end = LinkEnd(EndKind.CPU, brick, 0)
    link = Link(LinkKind.NVLINK, LinkEnd(EndKind.FUNCTION, A, 1), end, 25, "test")
    host = machine(gpu("01:00.0"), endpoint(str(brick)), links=(link,))
    faced = scene(replace(host, npu_bricks=(NpuBrick("p", "n", A, brick, 0),)))
    settings = replace(faced.settings, cpu_links={A: Domain(DomainKind.IDENTITY)})
    assert into_system(faced.topology, settings, brick).answer is DIRECT
    faceless = scene(replace(host, npu_bricks=(NpuBrick("p", "n", None, brick, 0),)))
    assert into_system(faceless.topology, faceless.settings, brick).answer is POSSIBLE, "which GPU is behind it?"


def test_an_npu_function_of_which_no_device_tree_told_may_be_behind_any_gpu_for_power() -> None:
    brick, other = at("0007:00:00.0"), at("0007:00:00.1")
    functions = [endpoint(str(a), ids=(0x1014, 0x04EA), class_code=0x068001) for a in (brick, other)]
    host = replace(machine(gpu("01:00.0"), *functions), platform=Platform.POWERNV)
    found = scene(host)
    assert set(found.topology.bricks) == {brick, other}, "by their ids"
    assert across_links(found.topology, found.settings, A, brick).answer is POSSIBLE
    assert into_system(found.topology, found.settings, brick).answer is POSSIBLE
    told = LinkEnd(EndKind.CPU, other, 0)
    link = Link(LinkKind.NVLINK, LinkEnd(EndKind.FUNCTION, A, 1), told, 25, "test")
    whole = scene(replace(host, links=(link,), links_told=frozenset({A})))
    assert across_links(whole.topology, whole.settings, A, brick).answer is BLOCKED, "its links lead elsewhere"
    assert across_links(whole.topology, whole.settings, A, other).answer is DIRECT
    astray = scene(replace(host, links=(replace(link, b=replace(told, function=None)),), links_told=frozenset({A})))
    assert across_links(astray.topology, astray.settings, A, brick).answer is POSSIBLE, "where does it lead?"


def test_a_bridge_whose_ids_a_record_hides_may_be_an_npu_function() -> None:
    hidden = replace(endpoint("0007:00:00.0", class_code=0x068001), possible_ids=((0x1014, None),))
    found = scene(machine(gpu("01:00.0"), hidden))
    assert not found.topology.bricks
    assert across_links(found.topology, found.settings, A, hidden.address).answer is POSSIBLE
    assert into_system(found.topology, found.settings, hidden.address).answer is POSSIBLE
