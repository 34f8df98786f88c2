"""Reach: the worst over all paths and all traffic, and memory."""

from __future__ import annotations

from dataclasses import replace

import pytest
from reach_hosts import ALL, CLOSED, OFF, acs, at, change, endpoint, gpu, links, machine, port, scene, slots, switch

from atoll.fabric.answer import Answer, Policy
from atoll.fabric.settings import Domain, DomainKind
from atoll.host.fact import Fact, Known, Unknown
from atoll.host.model import EndKind, Function, IommuUnit, KernelRelease, Link, LinkEnd, LinkKind, NpuBrick, Platform
from atoll.isolation.reach import Reach
from atoll.pci.acs import Acs
from atoll.pci.ats import Ats
from atoll.pci.header import PortType

A, B = at("01:00.0"), at("02:00.0")
DIRECT, POSSIBLE, IOMMU, BLOCKED = Answer.DIRECT, Answer.POSSIBLE, Answer.IOMMU, Answer.BLOCKED


def test_a_function_reaches_itself() -> None:
    assert scene(machine(*slots(CLOSED))).reach().answer(A, A).answer is DIRECT


def test_through_the_iommu_only() -> None:
    reach = scene(machine(*slots(CLOSED, CLOSED))).reach()
    assert reach.answer(A, B).answer is IOMMU
    assert reach.memory(A).answer is IOMMU
    assert reach.identity(A, B).answer is BLOCKED


@pytest.mark.parametrize(
    ("release", "expected"),
    [
        ((7, 3, "7.3.4"), IOMMU),
        ((5, 5, "5.5.0"), IOMMU),
        ((5, 4, "5.4.6"), IOMMU),
        ((5, 4, "5.4.5"), POSSIBLE),
        ((4, 18, "4.18.0-553.el8_10.x86_64"), POSSIBLE),
        (None, POSSIBLE),
    ],
)
def test_a_kernel_may_have_set_up_another_register_of_the_chipset(
    release: tuple[int, int, str] | None, expected: Answer
) -> None:
    """``pci_quirk_enable_intel_lpc_acs``: UPDCR stood at the wrong place until 5.5, whatever the log says."""
    functions = [
        replace(f, vendor=0x8086, device=0x8C10, chipset_acs=Known(True)) if f.is_port else f for f in slots(None, None)
    ]
    kernel = Unknown("not read") if release is None else Known(KernelRelease(*release))
    found = scene(replace(machine(*functions), kernel=kernel))
    assert found.reach().answer(A, B).answer is expected


@pytest.mark.parametrize(
    ("words", "platform", "word", "expected"),
    [
        ("arm-smmu.disable_bypass=0", Platform.ARM, acs("RR CR UF"), DIRECT),
        ("arm_smmu.disable-bypass=N", Platform.ARM, acs("RR CR UF"), DIRECT),
        ("arm-smmu.disable_bypass=off", Platform.ARM, Unknown("not read"), POSSIBLE),
        ("arm-smmu.disable_bypass=0", Platform.ARM, CLOSED, IOMMU),
        ("arm-smmu.disable_bypass=1", Platform.ARM, acs("RR CR UF"), IOMMU),
        ("arm-smmu.disable_bypass=0", Platform.X86, acs("RR CR UF"), IOMMU),
        ("arm-smmu.other=0", Platform.ARM, acs("RR CR UF"), POSSIBLE),
        ("arm-smmu.other=0", Platform.ARM, CLOSED, IOMMU),
    ],
)
def test_an_smmu_may_let_through_what_has_an_id_of_nobody(
    words: str, platform: Platform, word: Acs | Unknown, expected: Answer
) -> None:
    """A port that does not validate passes ids of functions that are not there, which the SMMU was told nothing of."""
    found = scene(machine(*slots(word), platform=platform, command_line=f"ro {words} quiet"))
    reached = found.reach().memory(A)
    assert reached.answer is expected
    assert ("sibling-identity" in reached.assumptions) is (word is CLOSED and platform is Platform.ARM)


@pytest.mark.parametrize(
    ("unit", "release", "told", "expected"),
    [
        ("smmu.0x2b400000", (6, 12), None, POSSIBLE),
        ("smmu.0x2b400000", (6, 12), True, IOMMU),
        ("smmu.0x2b400000", (6, 12), False, DIRECT),
        ("smmu3.0x9050000", (6, 12), None, IOMMU),
        ("smmu3.0x9050000", (6, 1), False, DIRECT),
        ("smmu3.0x9050000", (4, 19), None, POSSIBLE),
        ("smmu3.0x9050000", None, None, POSSIBLE),
    ],
)
def test_what_an_smmu_does_with_ids_of_nobody_is_as_its_kernel_was_built(
    unit: str, release: tuple[int, int] | None, told: bool | None, expected: Answer
) -> None:
    host = replace(
        machine(*slots(acs("RR CR UF")), platform=Platform.ARM),
        iommu_units=(IommuUnit(unit, "smmu"),),
        kernel=Unknown("not read") if release is None else Known(KernelRelease(*release, "x")),
        smmu_aborts=Unknown("not read") if told is None else Known(told, "disable_bypass"),
    )
    assert scene(host).reach().memory(A).answer is expected


@pytest.mark.parametrize(
    ("units", "release", "words", "expected"),
    [
        (("smmu3.0x9050000",), (6, 1), "arm-smmu.disable_bypass=0", IOMMU),
        (("smmu3.0x9050000",), (6, 1), "arm_smmu_v3.disable-bypass=N", DIRECT),
        (("smmu3.0x9050000",), (6, 10), "arm-smmu-v3.disable_bypass=0", IOMMU),
        (("smmu.0x2b400000",), (6, 1), "arm-smmu-v3.disable_bypass=0", POSSIBLE),
        (("smmu.0x2b400000",), (6, 1), "arm-smmu-v3.disable_bypass=1", POSSIBLE),
        (("smmu.0x2b400000",), (6, 1), "arm-smmu.disable_bypass=1", IOMMU),
        (("smmu.0x2b400000", "smmu3.0x9050000"), (6, 1), "arm-smmu-v3.disable_bypass=1", POSSIBLE),
        (("smmu.0x2b400000", "smmu3.0x9050000"), (6, 1), "arm-smmu-v3.disable_bypass=0", DIRECT),
    ],
)
def test_an_smmu_obeys_the_word_for_its_own_driver(
    units: tuple[str, ...], release: tuple[int, int], words: str, expected: Answer
) -> None:
    host = replace(
        machine(*slots(acs("RR CR UF")), platform=Platform.ARM, command_line=f"ro {words} quiet"),
        iommu_units=tuple(IommuUnit(unit, "smmu") for unit in units),
        kernel=Known(KernelRelease(*release, "x")),
    )
    assert scene(host).reach().memory(A).answer is expected


@pytest.mark.parametrize(
    ("platform", "unit", "word", "expected"),
    [
        (Platform.UNKNOWN, None, acs("RR CR UF"), POSSIBLE),
        (Platform.UNKNOWN, None, CLOSED, IOMMU),
        (Platform.UNKNOWN, "intel", acs("RR CR UF"), IOMMU),
        (Platform.X86, None, acs("RR CR UF"), IOMMU),
    ],
)
def test_an_iommu_of_unknown_kind_may_be_an_smmu(
    platform: Platform, unit: str | None, word: Acs | Unknown, expected: Answer
) -> None:
    units = () if unit is None else (IommuUnit("unit", unit),)
    host = replace(machine(*slots(word), platform=platform), iommu_units=units)
    assert scene(host).reach().memory(A).answer is expected


def test_a_blocked_domain_lets_nothing_through() -> None:
    reach = scene(machine(*slots(CLOSED, CLOSED), kind="blocked")).reach()
    assert (reach.answer(A, B).answer, reach.memory(A).answer) == (BLOCKED, BLOCKED)


def test_the_worst_path_counts() -> None:
    """A link is direct whatever PCIe says, and a switch is, whatever the IOMMU says."""
    cards = [gpu("01:00.0", "00:01.0"), gpu("02:00.0", "00:02.0")]
    wired = scene(
        machine(*slots(CLOSED, CLOSED)[::2], *cards, links=links("01:00.0", "02:00.0", (0, 0)), kind="blocked")
    )
    found = wired.reach().answer(A, B)
    assert (found.answer, found.path[0].via) == (DIRECT, "nvlink link 0")
    reach = scene(machine(*switch(OFF, OFF), kind="blocked")).reach()
    assert reach.answer(at("03:00.0"), at("04:00.0")).answer is DIRECT


@pytest.mark.parametrize(("platform", "expected"), [(Platform.X86, BLOCKED), (Platform.ARM, DIRECT)])
def test_what_egress_control_blocks_comes_to_no_root_complex(platform: Platform, expected: Answer) -> None:
    blocking = acs("SV CR UF EC", ALL, vector=0b10)
    reach = scene(machine(*switch(blocking, CLOSED, CLOSED), kind="identity", platform=platform)).reach()
    one, blocked, other = at("03:00.0"), at("04:00.0"), at("05:00.0")
    assert reach.answer(one, blocked).answer is expected
    assert reach.answer(one, other).answer is DIRECT
    assert reach.answer(blocked, one).answer is DIRECT, "another port decides"
    assert reach.memory(one).answer is DIRECT
    redirecting = acs("SV RR CR UF EC", ALL, vector=0b10)
    reach = scene(machine(*switch(redirecting, CLOSED), kind="identity", platform=platform)).reach()
    assert reach.answer(one, blocked).answer is DIRECT, "what is redirected goes there"


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        *((kind, BLOCKED) for kind in (DomainKind.IDENTITY, DomainKind.NONE, DomainKind.BLOCKED)),
        *((kind, IOMMU) for kind in (DomainKind.TRANSLATED, DomainKind.UNKNOWN, None)),
    ],
)
@pytest.mark.parametrize(
    ("word", "root"),
    [(acs("SV CR UF EC", ALL, vector=0b10), CLOSED), (acs("SV RR CR", ALL), acs("SV RR CR", ALL))],
)
def test_what_ends_below_a_root_complex_may_be_mapped_at_other_addresses(
    word: Acs, root: Acs, kind: DomainKind | None, expected: Answer
) -> None:
    """Of egress control, and of a root port that sends nothing up that is for its own side (UF)."""
    one = at("03:00.0")
    found = scene(machine(*change(switch(word, CLOSED, root=root), "03:00.0", ats=Known(Ats(True, 0x1B0)))))
    domain = {a: d for a, d in found.settings.domain.items() if a != one}
    settings = replace(found.settings, domain=domain if kind is None else domain | {one: Domain(kind, "test")})
    reach = Reach(found.topology, settings, Policy.STRICT)
    assert reach.memory(one).answer > IOMMU
    assert reach.answer(one, at("04:00.0")).answer is expected


def test_identity_domains_reach_all_that_answers() -> None:
    reach = scene(machine(*slots(CLOSED, CLOSED), kind="identity")).reach()
    found = reach.answer(A, B)
    assert found.answer is DIRECT
    assert [hop.via for hop in found.path] == ["untranslated request", "PCIe"]
    assert reach.memory(A).answer is DIRECT


def test_what_is_not_known_of_the_domain_leaves_all_open() -> None:
    reach = scene(machine(*slots(CLOSED, CLOSED), kind=None)).reach()
    assert (reach.answer(A, B).answer, reach.memory(A).answer) == (POSSIBLE, POSSIBLE)


@pytest.mark.parametrize(
    ("kind", "expected"),
    [(DomainKind.TRANSLATED, IOMMU), (DomainKind.IDENTITY, DIRECT), (DomainKind.UNKNOWN, POSSIBLE)],
)
def test_over_the_links_to_the_processor(kind: DomainKind, expected: Answer) -> None:
    """Into the system's address space: to memory, and to what has memory mapped there."""
    brick = at("0007:00:00.0")
    link = Link(LinkKind.NVLINK, LinkEnd(EndKind.FUNCTION, A, 1), LinkEnd(EndKind.CPU, brick, 0), 25, "test")
    functions = [
        *slots(CLOSED, CLOSED)[::2],
        gpu("01:00.0", "00:01.0"),
        gpu("02:00.0", "00:02.0"),
        endpoint(str(brick)),
    ]
    host = replace(
        machine(*functions, links=(link,), told=("01:00.0", "02:00.0"), kind="blocked"),
        npu_bricks=(NpuBrick("p", "n", A, brick, 0),),
    )
    found = scene(host)
    reach = Reach(found.topology, replace(found.settings, cpu_links={A: Domain(kind)}))
    for source in (A, brick):
        assert reach.memory(source).answer is expected
        assert reach.answer(source, B).answer is expected
    assert reach.identity(brick, B).answer is BLOCKED
    assert reach.memory(B).answer is BLOCKED, "it has no such links"


def test_policies_change_the_answer_not_the_question() -> None:
    found = scene(machine(*slots(None, None)))
    assert [found.reach(policy).answer(A, B).answer for policy in Policy] == [POSSIBLE, POSSIBLE, IOMMU]


def test_answers_are_remembered_and_settings_are_not_shared() -> None:
    found = scene(machine(*switch(OFF, OFF)))
    one, other = at("03:00.0"), at("04:00.0")
    reach = found.reach()
    assert reach.answer(one, other) is reach.answer(one, other)
    tighter = Reach(found.topology, found.settings.with_acs(at("02:00.0"), acs("SV RR CR UF").control))
    assert (reach.answer(one, other).answer, tighter.answer(one, other).answer) == (DIRECT, IOMMU)


def _mixed(root: str, kind: DomainKind, **more: object) -> Reach:
    """Two cards below a switch that validates nothing; 03:00.0 is translated, 04:00.0 as told."""
    found = scene(machine(*switch(OFF, OFF, root=acs(root)), **more))  # type: ignore[arg-type]
    settings = found.settings.with_domain(at("04:00.0"), Domain(kind, "", "so told"))
    return Reach(found.topology, settings)


def test_memory_under_a_false_id() -> None:
    """The IOMMU lets 04:00.0's id through: so 03:00.0, which can send it, is not held by its own mappings."""
    found = _mixed("SV RR CR UF", DomainKind.IDENTITY).memory(at("03:00.0"))
    assert found.answer is DIRECT
    assert [hop.via for hop in found.path] == ["requester id", "IOMMU"]
    assert _mixed("SV RR CR UF", DomainKind.UNKNOWN).memory(at("03:00.0")).answer is POSSIBLE
    assert _mixed("SV RR CR UF", DomainKind.TRANSLATED).memory(at("03:00.0")).answer is IOMMU
    assert _mixed("SV RR CR UF", DomainKind.BLOCKED).memory(at("03:00.0")).answer is IOMMU


def test_false_ids_stop_where_they_are_validated() -> None:
    host = machine(*switch(CLOSED, OFF), port("00:02.0", 9), endpoint("09:00.0", "00:02.0"))
    found = scene(host)
    settings = found.settings.with_domain(at("04:00.0"), Domain(DomainKind.IDENTITY))
    assert Reach(found.topology, settings).memory(at("03:00.0")).answer is IOMMU
    elsewhere = found.settings.with_domain(at("09:00.0"), Domain(DomainKind.IDENTITY))
    assert Reach(found.topology, elsewhere).memory(at("04:00.0")).answer is IOMMU


@pytest.mark.parametrize(
    ("group", "expected"), [(Known(-1), DIRECT), (Unknown("the text is cut"), POSSIBLE), (Known(None), IOMMU)]
)
def test_ports_ids_pass_too_where_pass_through_is_the_default(group: Fact[int | None], expected: Answer) -> None:
    """And may, where it is not told whether a port has a group; in none, no id of it is set up."""
    functions = [replace(f, group=group) if f.is_port else f for f in switch(OFF, OFF)]
    found = scene(machine(*functions, kind="identity"))
    settings = found.settings
    for place in ("03:00.0", "04:00.0"):
        settings = settings.with_domain(at(place), Domain(DomainKind.TRANSLATED, place))
    assert Reach(found.topology, settings).memory(at("03:00.0")).answer is expected


@pytest.mark.parametrize(("kind", "expected"), [("intel", IOMMU), ("amd", DIRECT)])
def test_the_id_of_a_port_that_amds_firmware_leaves_out_may_pass(kind: str, expected: Answer) -> None:
    """AMD's share a table, in which the entry of what the kernel ignores lets pass (``iommu_ignore_device``)."""
    functions = [replace(f, group=Known(None)) if f.is_port else f for f in switch(OFF, OFF)]
    found = scene(replace(machine(*functions), iommu_units=(IommuUnit("unit0", kind),)))
    settings = found.settings
    for place in ("03:00.0", "04:00.0"):
        settings = settings.with_domain(at(place), Domain(DomainKind.TRANSLATED, place))
    assert Reach(found.topology, settings).memory(at("03:00.0")).answer is expected


def vmd(place: str, behind: str = "") -> Function:
    found = endpoint(place, port_type=PortType.ROOT_INTEGRATED, ids=(0x8086, 0x201D))
    return replace(found, behind=at(behind) if behind else None)


@pytest.mark.parametrize("behind", ["00:0e.0", "10000:00:05.5"])
def test_what_comes_to_a_vmd_may_go_on_to_what_is_behind_it(behind: str) -> None:
    """Behind one after another too, and in a ring of them, as a record may show them."""
    beside = endpoint("00:0e.1", port_type=PortType.ROOT_INTEGRATED, acs=OFF)
    ring = [vmd("10000:00:05.5", "10001:00:05.5"), vmd("10001:00:05.5", "10000:00:05.5")]
    disk = replace(endpoint("10000:01:00.0", "10000:00:01.0"), behind=at(behind))
    top = replace(port("10000:00:01.0", 1), behind=at(behind))
    reach = scene(machine(vmd("00:0e.0"), beside, *ring, top, disk, kind="blocked")).reach(Policy.TRUSTED)
    found = reach.answer(beside.address, disk.address)
    if behind == "00:0e.0":
        assert (found.answer, found.path[-1].via) == (POSSIBLE, "in its memory BARs")
        assert reach.answer(beside.address, at("00:0e.0")).answer is DIRECT
    else:
        assert found.answer is BLOCKED, "nothing in a ring can be reached from outside"


@pytest.mark.parametrize("above", ["", "10000:00:05.5"])
def test_the_vmd_may_be_any_where_no_record_tells_which(above: str) -> None:
    """And one that stands behind another is reached by way of that."""
    beside = endpoint("00:0e.1", port_type=PortType.ROOT_INTEGRATED, acs=OFF)
    vmds = [vmd("00:0e.0"), vmd("10000:00:05.5", "00:0e.0")]
    disk = replace(endpoint("10001:01:00.0", "10001:00:01.0"), behind=at(above) if above else None)
    top = replace(port("10001:00:01.0", 1), behind=disk.behind)
    reach = scene(machine(*vmds, beside, top, disk, kind="blocked")).reach(Policy.TRUSTED)
    assert reach.answer(beside.address, disk.address).answer is POSSIBLE
