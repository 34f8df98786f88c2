"""Plans for the twins: masks, resets and what cannot be achieved."""

from __future__ import annotations

import itertools
import random
from dataclasses import replace

import pytest
from reach_hosts import CLOSED, acs, at, change, clusters, endpoint, gpu, links, machine, port, scene, slots, switch

from atoll.controls.present import present
from atoll.controls.registry import registers
from atoll.fabric.answer import Policy
from atoll.fabric.settings import DomainKind
from atoll.fabric.topology import Topology
from atoll.host import read_host
from atoll.host.fact import Known, Unknown
from atoll.host.model import EndKind, Platform
from atoll.isolation.clusters import Handover
from atoll.isolation.handover import HELD_SPACE
from atoll.isolation.moment import state
from atoll.isolation.proof import Verdict
from atoll.plan.bandwidth import inside
from atoll.plan.effects import after_steps
from atoll.plan.planner import plan
from atoll.plan.spec import read_spec
from atoll.plan.step import Plan, Step, StepKind
from atoll.twin import Twin

V100 = 0x1DB1


def planned(twin: Twin, *clusters: list[str], handover: str = "held") -> Plan:
    host = read_host(twin, registers=registers)
    text = ""
    for number, devices in enumerate(clusters):
        text += f'[cluster.c{number}]\ndevices = [{", ".join(map(repr, devices))}]\nhandover = "{handover}"\n'
    return plan(Topology(host), present(host), read_spec(text, host, name="t.toml"), spec=text)


def masks(made: Plan) -> dict[str, int | None]:
    return {str(step.device): step.mask for step in made.steps if step.kind is StepKind.CUT_LINKS}


def gpus(twin: Twin) -> list[str]:
    return [str(a) for a, f in read_host(twin, registers=registers).functions.items() if f.device == V100]


def test_each_alone() -> None:
    four, six = Twin.new("ac922-4gpu"), Twin.new("ac922-6gpu")
    assert set(masks(planned(four, *([gpu] for gpu in gpus(four)))).values()) == {0x150000}
    assert list(masks(planned(six, *([gpu] for gpu in gpus(six)))).values()) == [0x1D0000, 0x1D0000, 0x170000] * 2


def test_the_first_alone_and_the_others_together() -> None:
    twin = Twin.new("ac922-6gpu")
    first, second, third = gpus(twin)[:3]
    made = planned(twin, [first], [second, third])
    assert masks(made) == {first: 0x1D0000, second: 0x110000, third: 0x120000}
    kept = {cluster.cluster: cluster.kept_bytes_per_second for cluster in made.clusters}
    lost = {cluster.cluster: cluster.cut_bytes_per_second for cluster in made.clusters}
    assert kept == {"c0": 0, "c1": 2 * 2 * 25_000_000_000}
    assert lost == {"c0": 4 * 2 * 25_000_000_000, "c1": 4 * 2 * 25_000_000_000}


def test_a_compound_group_is_not_split() -> None:
    twin = Twin.new("ac922-4gpu", kernel="5.4")
    first, second, third, fourth = gpus(twin)
    split = planned(twin, [first], [second])
    assert not split.steps
    assert "one IOMMU group in every setting" in split.impossible[0].reason
    assert not planned(twin, [first, second], [third, fourth]).impossible


def test_what_a_vmd_serves_is_parted_in_the_firmware_alone() -> None:
    """The kernel groups it with the VMD in every slot below it (``pci_real_dma_dev``)."""
    found = scene(Twin.new("vmd-server"))
    made = plan(found.topology, found.settings, clusters(found.host, red="10000:02:00.0"))
    assert len(made.impossible) == 2
    for entry in made.impossible:
        assert "or turn VMD off in the firmware's setup" in entry.remedy
        assert "slot" not in entry.remedy


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("0000:08:00.0", "0000:08:00.1"),
        ("0000:0b:00.0", "0000:0b:01.0"),
        ("0000:05:00.0", "0000:06:00.0"),
        ("0000:07:00.0", "0000:03:00.0"),
    ],
)
def test_what_nothing_separates_is_impossible(one: str, other: str) -> None:
    made = planned(Twin.new("pcie-box"), [one], [other])
    assert made.impossible
    assert not made.steps


@pytest.mark.parametrize(
    ("device", "number", "told"),
    [
        (
            0x2330,
            0,
            "no control of this version cuts these links; Fabric Manager's partitions say what NVSwitches route",
        ),
        (0x15F9, 0, "`assumed = true` in [policy]"),
        (0x1DB5, None, "or record what tells where each link leads beside it: nvidia-smi nvlink -R"),
    ],
)
def test_what_cuts_links_over_a_chip_that_no_plan_cuts(device: int, number: int | None, told: str) -> None:
    ends = ("01:00.0", "02:00.0")
    cards = [replace(gpu(end, f"00:0{n}.0"), device=device) for n, end in enumerate(ends, 1)]
    joined = [link for end in ends for link in links(end, EndKind.SWITCH, (number, None), name="NVSwitch")]
    host = replace(machine(*(port(f"00:0{n}.0", n) for n in (1, 2)), *cards), links=tuple(joined))
    found = scene(replace(host, links_told=frozenset(map(at, ends))))
    made = plan(found.topology, found.settings, clusters(found.host, red=ends[0], blue=ends[1]))
    assert made.impossible
    assert all(told in entry.remedy and "put both in one cluster" in entry.remedy for entry in made.impossible)


def test_without_an_iommu_vfio_is_no_remedy() -> None:
    host = machine(*slots(CLOSED, CLOSED))
    functions = {a: replace(f, group=Known(None)) for a, f in host.functions.items()}
    bare = scene(replace(host, functions=functions, groups=Known({}), iommu_units=()))
    made = plan(bare.topology, bare.settings, clusters(bare.host, red="01:00.0", blue="02:00.0"))
    told = [entry.remedy for entry in made.impossible if "root complex" in entry.reason]
    assert told
    assert all("an IOMMU has to translate for it" in remedy for remedy in told)
    assert not any("iommu=pt" in entry.remedy for entry in made.impossible)


def test_virtual_functions_are_separated() -> None:
    made = planned(Twin.new("pcie-box"), ["0000:0c:00.1"], ["0000:0c:00.2"])
    assert not made.impossible
    assert not made.unachievable


def test_no_plan_parts_virtual_functions_from_who_has_their_physical_function() -> None:
    made = planned(Twin.new("pcie-box"), ["0000:0c:00.0"], ["0000:0c:00.1"])
    assert not made.steps
    assert any("has in hand" in entry.reason and "with the host" in entry.remedy for entry in made.impossible)


def test_what_keeps_others_apart_is_left_with_the_host() -> None:
    """No reading tells whether a function of a switch sets up its ports, and no policy takes it as harmless."""
    empty = acs("", "")
    functions = change(switch(CLOSED, CLOSED), "01:00.0", multifunction=Known(True), acs=Known(empty))
    found = scene(machine(*functions, endpoint("01:00.1", "00:01.0", multifunction=True, acs=empty)))
    for policy in (Policy.STRICT, Policy.TRUSTED):
        entries = plan(found.topology, found.settings, clusters(found.host, red="01:00.1"), policy).unachievable
        assert [(entry.unknown, "with the host" in entry.remedy) for entry in entries] == [(True, True)]


def test_so_is_an_iommu_that_is_a_function() -> None:
    iommu = endpoint("00:00.2", None, ids=(0x1022, 0x1481), class_code=0x080600)
    found = scene(machine(iommu, *slots(CLOSED)))
    (entry,) = plan(found.topology, found.settings, clusters(found.host, red="00:00.2")).impossible
    assert "has in hand" in entry.reason
    assert "with the host, whose it is" in entry.remedy


def test_stock_vfio_is_told_to_lose_the_cut() -> None:
    twin = Twin.new("ac922-4gpu")
    made = planned(twin, gpus(twin)[:1], gpus(twin)[1:2], handover="vfio")
    assert made.steps
    assert any("stock vfio-pci" in entry.reason and "held" in entry.remedy for entry in made.unachievable)


def test_only_what_the_hand_over_opens_is_told_to_be_lost_by_it() -> None:
    cards = [gpu(f"0{n}:00.0", f"00:0{n}.0") for n in (1, 2)]
    joined = links("01:00.0", "02:00.0", (0, 0))
    found = scene(machine(*slots(CLOSED, CLOSED)[::2], *cards, links=joined, remapping=False))
    named = clusters(found.host, red="01:00.0", blue="02:00.0")
    named = replace(named, named=tuple(replace(c, handover=Handover.VFIO) for c in named.named))
    entries = plan(found.topology, found.settings, named).unachievable
    assert sorted(e.clusters for e in entries if "loses the isolation" in e.reason) == [
        ("blue", "red"),
        ("red", "blue"),
    ]
    assert sorted(e.clusters for e in entries if "interrupt" in e.reason) == [("blue", "host"), ("red", "host")]


def test_what_no_reading_settles_is_left_to_the_policy() -> None:
    """Functions of a device without ACS: only the policy takes them as apart. Unread ports differ."""
    device = [endpoint(f"01:00.{n}", "00:01.0", multifunction=True, methods=("flr",)) for n in (0, 1)]
    open_by_specification = scene(machine(port("00:01.0", 1), *device))
    unread = scene(machine(*switch(Unknown("cut off"), Unknown("cut off"))))
    for found, one, other, trust in (
        (open_by_specification, "01:00.0", "01:00.1", True),
        (unread, "03:00.0", "04:00.0", False),
    ):
        named = clusters(found.host, red=one, blue=other)
        entries = plan(found.topology, found.settings, named).unachievable
        assert entries
        assert all(("--policy trusted" in entry.remedy) is trust for entry in entries)
        assert all(("as root" in entry.remedy) is not trust for entry in entries)
        if trust:
            assert not plan(found.topology, found.settings, named, Policy.TRUSTED).unachievable


@pytest.mark.parametrize("seed", range(6))
def test_no_more_resets_than_the_fewest_that_open_what_is_inside(seed: int) -> None:
    dice = random.Random(seed)
    twin = Twin.new("ac922-6gpu")
    for card in (a for a, f in read_host(twin, registers=registers).functions.items() if f.device == V100):
        for offset, value in ((0x12004C, 4), (0x122204, 2), (0x200, twin.peek(card, "bar0", 0x200) | 0x02000000)):
            twin.poke(card, "bar0", offset, value)
        twin.poke(card, "bar0", 0xA00148, dice.choice((0, 0x150000, 0x1D0000, 0x010000, 0x040000)))
    names = gpus(twin)
    cut = dice.randrange(1, 6)
    groups = (names[:cut], names[cut:])
    made = planned(twin, *groups, handover="vfio")
    assert not made.impossible
    host = read_host(twin, registers=registers)
    topology, settings = Topology(host), present(host)
    owner = {a: next(i for i, g in enumerate(groups) if str(a) in g) for a in host.functions if str(a) in names}
    joined = {a: str(n) for a, n in owner.items()}
    within = {a: inside(topology, joined, a) for a in owner}

    def opens(reset: tuple[object, ...]) -> bool:
        """Whether no link inside a cluster is cut at an end that was not reset."""
        for function, inner in within.items():
            for link in inner:
                near = link.a if link.a.function == function else link.b
                if function not in reset and near.number in (settings.cut.get(function) or frozenset()):
                    return False
        return True

    fewest = next(n for n in range(7) if any(opens(some) for some in itertools.combinations(owner, n)))
    assert sum(step.kind is StepKind.RESET for step in made.steps) == fewest


@pytest.mark.parametrize("ats", [None, False])
def test_ats_that_holding_may_switch_on_is_not_planned_away(ats: bool | None) -> None:
    """Off because addresses pass unchanged (SMMU): what it is once its holder has it open does not follow."""
    cards = slots(CLOSED, CLOSED)
    cards[1] = endpoint("01:00.0", "00:01.0", ats=ats, driver="vfio-pci")
    found = scene(machine(*cards, kind="identity", platform=Platform.ARM))
    named = clusters(found.host, red="01:00.0")
    made = plan(found.topology, found.settings, named)
    assert made.steps
    assert bool(made.unachievable) is (ats is False)
    host, reached = after_steps(found.host, found.settings, made.steps)
    stated = state(Topology(host), reached, named, Policy.STRICT, moment="after")
    assert stated.proof.verdict is stated.handed_over.verdict
    assert stated.proof.verdict is (Verdict.PROVEN if ats is None else Verdict.UNKNOWN)


def test_a_lease_makes_no_iommu() -> None:
    """No-IOMMU mode: what a holder has open reaches all memory as before."""
    host = machine(*slots(CLOSED, CLOSED))
    assert isinstance(host.groups, Known)
    groups = {n: replace(group, name="vfio-noiommu") for n, group in host.groups.value.items()}
    found = scene(replace(host, groups=Known(groups)))
    lease = Step("s1", StepKind.LEASE, at("01:00.0"), "", "", "", "", cluster="red")
    _, reached = after_steps(found.host, found.settings, [lease])
    assert reached.domain[at("01:00.0")].kind is DomainKind.NONE


def test_a_leases_address_space_is_that_of_the_npu_functions_too() -> None:
    found = read_host(Twin.new("ac922-4gpu", kernel="5.4"), registers=registers)
    gpu = at("0004:04:00.0")
    companions = {b.function for b in found.npu_bricks if b.gpu == gpu and b.function is not None}
    assert companions
    lease = Step("s1", StepKind.LEASE, gpu, "", "", "", "", cluster="red")
    _, reached = after_steps(found, present(found), [lease])
    assert {reached.domain[one].space for one in (gpu, *companions)} == {f"{HELD_SPACE}red"}


@pytest.mark.parametrize(
    ("mine", "others", "command_line", "then"),
    [
        ("DMA", "DMA", "", DomainKind.TRANSLATED),
        ("DMA", "DMA-FQ", "", DomainKind.TRANSLATED),
        ("identity", "identity", "iommu=pt", DomainKind.IDENTITY),
        # Somebody has changed one or the other: what the kernel chooses by itself does not show.
        ("DMA", "identity", "", DomainKind.UNKNOWN),
        ("identity", "DMA", "", DomainKind.UNKNOWN),
        ("DMA", "DMA", "quiet iommu.passthrough=1", DomainKind.IDENTITY),
        ("blocked", "DMA", "", DomainKind.UNKNOWN),
    ],
)
def test_a_rescan_gives_the_domain_that_the_kernel_chooses(
    mine: str, others: str, command_line: str, then: DomainKind
) -> None:
    host = machine(*slots(CLOSED, CLOSED), command_line=command_line)
    gpu = at("01:00.0")
    assert isinstance(host.groups, Known)
    groups = {
        n: replace(group, type=Known(mine if gpu in group.members else others))
        for n, group in host.groups.value.items()
    }
    found = scene(replace(host, groups=Known(groups)))
    step = Step("s1", StepKind.RESCAN, gpu, "", "", "", "", group=(gpu,))
    _, reached = after_steps(found.host, found.settings, [step])
    assert reached.domain[gpu].kind is then
