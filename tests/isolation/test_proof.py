"""Proofs: what is proven, refuted, or not known, and what it rests on."""

from __future__ import annotations

from dataclasses import replace

import pytest
from reach_hosts import (
    CLOSED,
    OFF,
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

from atoll.fabric.answer import Answer, Policy
from atoll.fabric.settings import Domain, DomainKind
from atoll.host.fact import Fact, Known, Unknown, value_of
from atoll.host.model import EndKind, Group, Holder, Host, ReservedRegion
from atoll.host.records.merge import merge
from atoll.isolation.clusters import HOST, Cluster, Clusters, Handover
from atoll.isolation.proof import Breach, Proof, Verdict, breaches, prove, refuted, verdict_of
from atoll.pci.acs import Acs
from atoll.pci.header import Command, PortType
from atoll.pci.sriov import Sriov
from atoll.twin import Twin

PROVEN, VIOLATED, UNKNOWN = Verdict.PROVEN, Verdict.VIOLATED, Verdict.UNKNOWN


def proof(host: Host, policy: Policy = Policy.STRICT, /, **named: str) -> Proof:
    found = scene(host)
    return prove(found.reach(policy), clusters(host, **named))


def wrong(found: Proof) -> set[tuple[str, str, Breach]]:
    return {(str(v.source)[5:], v.target.removeprefix("0000:"), v.breach) for v in (*found.violations, *found.unknown)}


def ids(found: Proof) -> set[str]:
    return {assumption.id for assumption in found.assumptions}


def test_proven() -> None:
    found = proof(machine(*slots(CLOSED, CLOSED, CLOSED)), red="01:00.0", blue="02:00.0")
    assert (found.verdict, found.violations, found.unknown, found.reasons) == (PROVEN, (), (), ())
    # Each of two against two functions, and the memory of the other cluster and of the host.
    assert found.pairs == 8


def test_a_function_that_was_not_read_leaves_the_proof_open() -> None:
    host = replace(machine(*slots(CLOSED, CLOSED)), unread=(at("09:00.0"),))
    found = proof(host, red="01:00.0")
    assert found.verdict is UNKNOWN
    assert wrong(found) == {("01:00.0", "09:00.0", Breach.ACCESS)}


def test_a_function_of_another_group_that_was_not_read_leaves_the_proof_open() -> None:
    """Groups name it, and nothing shows where it hangs."""
    host = machine(*slots(CLOSED, CLOSED))
    assert isinstance(host.groups, Known)
    groups = {**host.groups.value, 99: Group(99, (at("09:00.0"),))}
    found = proof(replace(host, groups=Known(groups)), red="01:00.0")
    assert (found.verdict, wrong(found)) == (UNKNOWN, {("01:00.0", "09:00.0", Breach.ACCESS)})


def test_groups_and_a_command_line_of_different_boots_leave_the_proof_open() -> None:
    """Groups were recorded with an IOMMU in use, the command line asks for none: hand-over is open too."""
    host = machine(*slots(CLOSED, CLOSED), command_line="ro intel_iommu=off")
    two = replace(host, command_line=Unknown("not read")), replace(host, functions={}, groups=Unknown("not read"))
    for mixed in (host, merge(two)):
        said = scene(mixed).state(clusters(mixed, red="01:00.0"))
        assert (said.proof.verdict, said.handed_over.verdict) == (UNKNOWN, UNKNOWN)
        assert ("01:00.0", "02:00.0", Breach.DOMAIN) in wrong(said.proof)


def test_an_excerpt_leaves_the_proof_open() -> None:
    found = proof(replace(machine(*slots(CLOSED, CLOSED)), excerpt=True), red="01:00.0")
    assert found.verdict is UNKNOWN
    assert wrong(found) == {("01:00.0", "what is left out", Breach.ACCESS)}


def test_a_platform_device_in_the_group_shares_its_address_space() -> None:
    """It is the host's: a group may hold what is no PCI function (SMMUv2, the ACPI devices of AMD's IOMMU)."""
    host = machine(*slots(CLOSED, CLOSED))
    number = value_of(host.functions[at("01:00.0")].group, None)
    groups = {n: replace(g, others=("a:00",) if n == number else ()) for n, g in value_of(host.groups, {}).items()}
    found = proof(replace(host, groups=Known(groups)), red="01:00.0")
    assert (found.verdict, wrong(found)) == (VIOLATED, {("01:00.0", "a:00", Breach.DOMAIN)})
    assert proof(replace(host, groups=Known(groups)), red="02:00.0").verdict is PROVEN


@pytest.mark.parametrize(
    ("class_code", "memory", "above", "verdict"),
    [
        (0x060000, False, None, UNKNOWN),  # a host bridge, AMD's data fabric
        (0x060100, False, None, UNKNOWN),  # LPC
        (0x0C8000, True, None, UNKNOWN),  # the controller of the firmware's flash memory
        (0x088000, False, None, UNKNOWN),  # of Intel's uncore
        (0x088000, True, None, PROVEN),  # DSA
        (0x0C0340, True, None, UNKNOWN),  # the host interface of USB4
        (0x0C0330, True, None, PROVEN),
        (0x040300, True, None, PROVEN),
        (0x060100, False, "00:01.0", PROVEN),  # on a card
    ],
)
def test_who_drives_the_chipset_may_set_up_what_others_reach(
    class_code: int, memory: bool, above: str | None, verdict: Verdict
) -> None:
    kind = PortType.ENDPOINT if above else PortType.ROOT_INTEGRATED
    place = "01:00.0" if above else "00:1f.0"
    one = endpoint(place, above, port_type=kind, class_code=class_code, memory=memory, command=Command.MEMORY)
    host = machine(port("00:01.0", 1), one, port("00:02.0", 2), endpoint("02:00.0", "00:02.0"))
    found = proof(host, Policy.TRUSTED, red=place)
    assert (found.verdict, wrong(found) == {(place, "memory:host", Breach.CONTROL)}) == (verdict, verdict is UNKNOWN)


def test_links_of_which_no_record_tells_leave_the_proof_open() -> None:
    """Two accelerators with Xe Link, two ends of non-transparent bridges: they may be joined."""
    for ids_, kind in (((0x8086, 0x0BD5), 0x038000), ((0x10B5, 0x87B0), 0x068000)):
        root = (port("00:01.0", 1), port("00:02.0", 2))
        both = [endpoint(place, above, ids=ids_, class_code=kind) for place, above in _SLOTS]
        found = proof(machine(*root, *both), red="01:00.0", blue="02:00.0")
        assert (found.verdict, wrong(found)) == (
            UNKNOWN,
            {("01:00.0", "02:00.0", Breach.ACCESS), ("02:00.0", "01:00.0", Breach.ACCESS)},
        )
        alone = proof(machine(*root, both[0], endpoint("02:00.0", "00:02.0")), red="01:00.0", blue="02:00.0")
        assert (alone.verdict, "off-host-links" in ids(alone)) == (PROVEN, True)
        assert proof(machine(*root, *both), red="01:00.0 02:00.0").verdict is PROVEN


_SLOTS = (("01:00.0", "00:01.0"), ("02:00.0", "00:02.0"))


def test_inside_a_cluster_nothing_needs_isolation() -> None:
    host = machine(*switch(OFF, OFF))
    assert proof(host, red="03:00.0 04:00.0").verdict is PROVEN
    assert proof(host, red="03:00.0", blue="04:00.0").verdict is VIOLATED


def test_a_physical_function_has_its_virtual_functions_in_hand() -> None:
    """Whatever ACS says between them: its owner sets them up, resets them and takes them away."""
    physical = endpoint("01:00.0", "00:01.0", acs=CLOSED)
    virtual = [endpoint(f"01:00.{n}", "00:01.0", physical="01:00.0", memory=False) for n in (1, 2)]
    host = machine(port("00:01.0", 1), physical, *virtual)
    assert proof(host, red="01:00.1", blue="01:00.2").verdict is PROVEN
    for named in ({"red": "01:00.0", "blue": "01:00.1 01:00.2"}, {"red": "01:00.0 01:00.2"}):
        found = proof(host, Policy.TRUSTED, **named)
        assert found.verdict is VIOLATED
        assert ("01:00.0", "01:00.1", Breach.CONTROL) in wrong(found)
        assert not any(source != "01:00.0" for source, _, _ in wrong(found))
    assert proof(host, red="01:00.0 01:00.1 01:00.2").verdict is PROVEN


@pytest.mark.parametrize("sriov", [None, 2, Unknown("cut off")])
def test_what_may_be_a_virtual_function_may_be_in_hand(sriov: int | Unknown | None) -> None:
    capability = sriov if isinstance(sriov, Unknown) else Known(None if sriov is None else Sriov(sriov, sriov, 0x160))
    first = replace(endpoint("01:00.0", "00:01.0", acs=CLOSED, multifunction=True), sriov=capability)
    second = replace(endpoint("01:00.1", "00:01.0", acs=CLOSED, multifunction=True), perhaps_virtual=True)
    host = machine(port("00:01.0", 1), first, second)
    assert proof(host, red="01:00.1").verdict is PROVEN
    found = proof(host, red="01:00.0")
    assert found.verdict is (PROVEN if sriov is None else UNKNOWN)
    assert wrong(found) == (set() if sriov is None else {("01:00.0", "01:00.1", Breach.CONTROL)})


@pytest.mark.parametrize("vendor", [0x1022, 0x8086])
def test_who_has_an_iommu_has_all_in_hand(vendor: int) -> None:
    """AMD's is a function, and needs no bus mastering to be set up; what Intel calls so is none."""
    kind = PortType.CONVENTIONAL
    iommu = endpoint("00:00.2", ids=(vendor, 0x1481), class_code=0x080600, port_type=kind, command=Command(0))
    found = proof(machine(iommu, *slots(CLOSED)), Policy.TRUSTED, red="00:00.2")
    shown = ("00:00.2", "memory:host", Breach.CONTROL) in wrong(found)
    assert (found.verdict is VIOLATED) is shown is (vendor == 0x1022)


@pytest.mark.parametrize("place", ["01:00.1", "02:1f.0"])
def test_who_has_a_function_of_a_switch_may_have_its_ports_in_hand(place: str) -> None:
    """Beside the upstream port, or on the inner bus: management endpoints and DMA engines stand there."""
    empty = Known(acs("", ""))
    functions = change(switch(CLOSED, CLOSED), "01:00.0", multifunction=Known(True), acs=empty)
    own = endpoint(place, "00:01.0" if place.startswith("01") else "01:00.0", multifunction=True, acs=empty.value)
    host = machine(*functions, own)
    for policy in (Policy.STRICT, Policy.TRUSTED):
        found = proof(host, policy, red=place)
        assert (found.verdict, wrong(found)) == (UNKNOWN, {(place, "01:00.0", Breach.CONTROL)})
    assert proof(host, red="03:00.0").verdict is PROVEN, "the host's own may do as it likes"
    assert proof(host, red=f"{place} 03:00.0 04:00.0").verdict is PROVEN, "nothing of others is below"


def test_the_host_may_reach_its_tenants_and_they_not_the_host() -> None:
    assert proof(machine(*switch(CLOSED, OFF)), red="03:00.0").verdict is PROVEN
    assert proof(machine(*switch(OFF, CLOSED)), red="03:00.0").verdict is VIOLATED


def test_a_named_cluster_of_a_host_driver_is_not_trusted() -> None:
    host = machine(*switch(OFF, CLOSED))
    named = Clusters((Cluster("kernel", (at("03:00.0"),), Handover.KERNEL, "nvme"),))
    assert prove(scene(host).reach(), named).verdict is VIOLATED


@pytest.mark.parametrize("named", [{}, {"red": ""}])
def test_a_check_over_nothing_is_unknown(named: dict[str, str]) -> None:
    found = proof(machine(*slots(CLOSED)), Policy.STRICT, **named)
    assert (found.verdict, found.pairs) == (UNKNOWN, 0)
    assert found.reasons


@pytest.mark.parametrize("violated", [False, True])
@pytest.mark.parametrize("unknown", [False, True])
def test_precedence(violated: bool, unknown: bool) -> None:
    expected = VIOLATED if violated else UNKNOWN if unknown else PROVEN
    assert verdict_of(violated, unknown) is expected


@pytest.mark.parametrize("remapping", [True, False, None])
def test_interrupts(remapping: bool | None) -> None:
    host = machine(*slots(CLOSED, CLOSED), remapping=remapping)
    found = proof(host, red="01:00.0")
    assert found.verdict is {True: PROVEN, False: VIOLATED, None: UNKNOWN}[remapping]
    assert refuted(scene(host).reach(), clusters(host, red="01:00.0")) is (remapping is False)
    assert remapping or wrong(found) == {("01:00.0", "interrupts", Breach.INTERRUPTS)}


def test_memory_is_checked_against_every_other_cluster() -> None:
    host = machine(*slots(CLOSED, CLOSED), kind="identity")
    found = wrong(proof(host, red="01:00.0", blue="02:00.0"))
    assert {(s, t) for s, t, breach in found if breach is Breach.MEMORY} == {
        ("01:00.0", "memory:blue"),
        ("01:00.0", f"memory:{HOST}"),
        ("02:00.0", "memory:red"),
        ("02:00.0", f"memory:{HOST}"),
    }


def test_one_group_is_one_address_space() -> None:
    functions = [replace(f, group=Known(7)) if not f.is_port else f for f in slots(CLOSED, CLOSED)]
    found = proof(machine(*functions), red="01:00.0", blue="02:00.0")
    assert found.verdict is VIOLATED
    assert wrong(found) == {
        ("01:00.0", "02:00.0", Breach.DOMAIN),
        ("02:00.0", "01:00.0", Breach.DOMAIN),
    }


def holding(containers: int | None) -> Host:
    both = (at("01:00.0"), at("02:00.0"))
    holder = Holder(7, "vmm", (), both, Unknown("?") if containers is None else Known(containers))
    return replace(machine(*slots(CLOSED, CLOSED)), holders=Known((holder,)))


@pytest.mark.parametrize(("containers", "expected"), [(1, VIOLATED), (2, UNKNOWN), (None, UNKNOWN), (0, UNKNOWN)])
def test_one_process_may_have_one_address_space(containers: int | None, expected: Verdict) -> None:
    found = proof(holding(containers), red="01:00.0", blue="02:00.0")
    assert found.verdict is expected
    assert ("01:00.0", "02:00.0", Breach.DOMAIN) in wrong(found)


@pytest.mark.parametrize("first", [1, 9])
def test_a_device_that_was_handed_on_may_be_in_an_address_space_of_either_process(first: int) -> None:
    """One process opened it and passed its descriptor to another, which has a device of somebody else open as well."""
    one, other = at("01:00.0"), at("02:00.0")
    card = [replace(f, driver=Known("vfio-pci")) for f in slots(CLOSED, CLOSED, CLOSED)]
    opener, user = Holder(first, "opener", (), (one,), Known(1)), Holder(5, "vmm", (), (one, other), Known(1))
    apart = Holder(5, "vmm", (), (other,), Known(1))

    def of(*holders: Holder) -> Proof:
        ordered = tuple(sorted(holders, key=lambda holder: holder.pid))
        return proof(replace(machine(*card), holders=Known(ordered)), red="01:00.0", blue="02:00.0")

    found = of(opener, user)
    assert found.verdict is UNKNOWN
    assert wrong(found) == {("01:00.0", "02:00.0", Breach.DOMAIN), ("02:00.0", "01:00.0", Breach.DOMAIN)}
    assert of(opener, apart).verdict is PROVEN
    # By way of a third one that has a device of each of two.
    between = Holder(7, "between", (), (at("03:00.0"), one), Known(1))
    assert of(opener, replace(apart, devices=(other, at("03:00.0"))), between).verdict is UNKNOWN


def test_an_unknown_address_space_is_not_known_to_be_another() -> None:
    host = machine(*slots(CLOSED, CLOSED))
    found = scene(host)
    unknown = found.settings.with_domain(at("02:00.0"), Domain(DomainKind.UNKNOWN, "", "not read"))
    answer = prove(replace(found, settings=unknown).reach(), clusters(host, red="01:00.0"))
    assert answer.verdict is UNKNOWN
    assert wrong(answer) == {("01:00.0", "02:00.0", Breach.DOMAIN)}


def test_what_may_send_may_share_an_address_space() -> None:
    one, card, *rest = slots(CLOSED, CLOSED)
    host = machine(one, replace(card, command=Unknown("cut")), *rest)
    found = scene(host)
    unknown = found.settings.with_domain(at("02:00.0"), Domain(DomainKind.UNKNOWN, "", "not read"))
    answer = prove(replace(found, settings=unknown).reach(), clusters(host, red="01:00.0"))
    assert ("01:00.0", "02:00.0", Breach.DOMAIN) in wrong(answer)


def test_identity_is_its_own_breach() -> None:
    host = machine(*slots(acs("RR CR UF"), CLOSED))
    found = proof(host, red="01:00.0", blue="02:00.0")
    assert ("01:00.0", "02:00.0", Breach.IDENTITY) in wrong(found)
    assert found.violations[0].target_cluster == "blue", "tenants before the host"


def test_bars_of_ports_are_targets() -> None:
    upstream = port("01:00.0", 2, "00:01.0", PortType.UPSTREAM, acs=None, memory=True)
    host = machine(*switch(CLOSED, up=upstream))
    assert wrong(proof(host, red="03:00.0")) == {("03:00.0", "01:00.0", Breach.ACCESS)}
    assert proof(host, red="03:00.0").verdict is UNKNOWN
    trusted = proof(host, Policy.TRUSTED, red="03:00.0")
    assert (trusted.verdict, "port-bar" in ids(trusted)) == (PROVEN, True)


def test_members_of_a_group_that_were_not_read() -> None:
    host = machine(*slots(CLOSED, CLOSED))
    assert isinstance(host.groups, Known)
    number, group = next((n, g) for n, g in host.groups.value.items() if at("01:00.0") in g.members)
    hidden = Group(number, (*group.members, at("09:00.0")), group.type)
    found = proof(replace(host, groups=Known({**host.groups.value, number: hidden})), red="01:00.0")
    assert found.verdict is UNKNOWN
    assert wrong(found) == {("01:00.0", "09:00.0", Breach.DOMAIN), ("01:00.0", "09:00.0", Breach.ACCESS)}


# -- unknown is never proven


@pytest.mark.parametrize("name", ["ac922-4gpu", "ac922-6gpu", "dgx1v"])
@pytest.mark.parametrize("policy", Policy)
def test_unknown_links_are_never_proven(name: str, policy: Policy) -> None:
    """Not even with all links of all GPUs cut, and under no policy."""
    host = scene(Twin.new(name, links=False)).host
    first, *others = (str(a) for a, f in host.functions.items() if f.device == 0x1DB1)
    found = scene(host)
    named = Clusters(tuple(Cluster(f"c{n}", (a,), Handover.HELD) for n, a in enumerate(map(at, (first, others[0])))))
    proven = prove(found.reach(policy), named)
    assert proven.verdict is not PROVEN
    open_pairs = {(str(v.source), v.target) for v in (*proven.unknown, *proven.violations)}
    assert {(first, other) for other in others} <= open_pairs
    over = prove(replace(found, settings=found.settings.with_command(at(first), Command.MEMORY)).reach(policy), named)
    assert (first, others[0]) in {(str(v.source), v.target) for v in (*over.unknown, *over.violations)}


@pytest.mark.parametrize(
    "missing",
    ["port_type", "command", "acs", "ats", "group"],
)
@pytest.mark.parametrize("policy", Policy)
def test_no_fact_can_be_missing_from_what_leads_to_a_tenant(missing: str, policy: Policy) -> None:
    """Hide one kind of fact of every function: what was proven is open, or rests on no such fact."""
    whole = machine(*switch(CLOSED, CLOSED))
    assert proof(whole, policy, red="03:00.0", blue="04:00.0").verdict is PROVEN
    hide: dict[str, object] = {missing: Unknown("not read")}
    blind = {a: replace(f, **hide) for a, f in whole.functions.items()}  # type: ignore[arg-type]
    found = proof(replace(whole, functions=blind), policy, red="03:00.0", blue="04:00.0")
    # Where requests may be sent or not makes no difference to what nothing lets turn.
    expected = PROVEN if missing == "command" or (missing == "ats" and policy is Policy.TRUSTED) else UNKNOWN
    assert found.verdict is expected


@pytest.mark.parametrize("hidden", ["00:01.0", "01:00.0", "02:00.0", "02:01.0"])
def test_no_port_can_be_missing_above_a_tenant(hidden: str) -> None:
    whole = machine(*switch(CLOSED, CLOSED))
    fewer = replace(whole, functions={a: f for a, f in whole.functions.items() if a != at(hidden)})
    for policy in Policy:
        assert proof(fewer, policy, red="03:00.0", blue="04:00.0").verdict is UNKNOWN, policy


@pytest.mark.parametrize("where", ["groups", "interrupt_remapping", "command_line"])
def test_what_a_whole_host_may_lack(where: str) -> None:
    host = machine(*slots(CLOSED, CLOSED))
    lacking: dict[str, object] = {where: Unknown("not captured")}
    found = proof(replace(host, **lacking), red="01:00.0")  # type: ignore[arg-type]
    assert found.verdict is (PROVEN if where == "command_line" else UNKNOWN)


# -- what it rests on


@pytest.mark.parametrize(
    ("word", "policy", "expected"),
    [(CLOSED, Policy.STRICT, set()), (None, Policy.TRUSTED, {"root-complex"})],
)
def test_assumptions_of_policies(word: Acs | None, policy: Policy, expected: set[str]) -> None:
    validated = [replace(f, group=Known(-1)) for f in slots(word, CLOSED)]
    found = proof(machine(*validated), policy, red="01:00.0")
    assert ids(found) - {"configuration-space"} == expected


def test_standing_assumptions() -> None:
    functions = [
        *switch(CLOSED, CLOSED)[:-1],
        gpu("04:00.0", "02:01.0"),
        gpu("05:00.0", "00:02.0"),
        port("00:02.0", 5),
    ]
    host = machine(*functions, links=links("04:00.0", "05:00.0", (0, 0)), masks={"04:00.0": 0x10000})
    found = scene(host)
    open_host = found.settings.with_domain(at("05:00.0"), Domain(DomainKind.IDENTITY))
    answer = prove(replace(found, settings=open_host).reach(), clusters(host, red="04:00.0"))
    assert answer.verdict is PROVEN
    assert ids(answer) == {
        "identity-host-devices",
        "control:nvlink-mask-v100",
        "unsolicited-completions",
        "configuration-space",
    }
    text = {assumption.id: assumption.text for assumption in answer.assumptions}
    assert text["identity-host-devices"].startswith("1 host device")
    assert "observed" in text["control:nvlink-mask-v100"]


@pytest.mark.parametrize(
    ("driver", "kind", "assumed"),
    [
        (Known("nvme"), "DMA", "seen too"),
        (Known("nvme"), "DMA-FQ", "10 ms"),
        (Unknown("not read"), "DMA", "seen too"),
        (Known(None), "DMA-FQ", ""),
        (Known("vfio-pci"), "DMA", ""),
    ],
)
def test_what_drivers_of_the_host_map_is_assumed_to_hold_no_more(
    driver: Fact[str | None], kind: str, assumed: str
) -> None:
    """Of the functions that are named, as long as the kernel's own domain translates for them."""
    host = machine(*change(slots(CLOSED, CLOSED), "01:00.0", driver=driver), kind=kind)
    for tenant, expected in (("01:00.0", assumed), ("02:00.0", "")):
        stated = scene(host).state(clusters(host, red=tenant))
        text = {assumption.id: assumption.text for assumption in stated.proof.assumptions}.get("kernel-mappings", "")
        assert bool(text) is bool(expected)
        assert expected in text
        assert ("10 ms" in text) is (expected == "10 ms")
        assert "kernel-mappings" not in ids(stated.handed_over), "it is held there"


def test_completions_pass_inside_devices_too() -> None:
    """Where functions of one device have different owners; not between devices, below root ports of their own."""
    device = [endpoint(f"01:00.{n}", "00:01.0", acs=CLOSED, multifunction=True) for n in (0, 1)]
    host = machine(port("00:01.0", 1), *device, *slots(CLOSED, CLOSED)[2:])
    for named, assumed in (
        ({"red": "01:00.0"}, True),
        ({"red": "01:00.0 01:00.1"}, False),
        ({"red": "02:00.0"}, False),
    ):
        found = proof(host, **named)
        assert found.verdict is PROVEN
        assert ("unsolicited-completions" in ids(found)) is assumed
        assert any("device of several functions whatever" in a.text for a in found.assumptions) is assumed


# -- parts


@pytest.mark.parametrize("told", [True, False])
def test_xgmi_to_the_processor_is_not_known_to_be_missing(told: bool) -> None:
    """Once vfio-pci has an MI300A, no record shows what its driver showed: that it reaches memory over XGMI."""
    functions = change(slots(CLOSED, CLOSED), "01:00.0", vendor=0x1002, device=0x74A0)
    found = proof(machine(*functions, told=["01:00.0"] if told else []), red="01:00.0", blue="02:00.0")
    assert found.verdict is (PROVEN if told else UNKNOWN)
    reached = {("01:00.0", "memory:blue", Breach.MEMORY), ("01:00.0", "memory:host", Breach.MEMORY)}
    assert wrong(found) == (set() if told else {*reached, ("01:00.0", "02:00.0", Breach.ACCESS)})


def test_what_firmware_wants_mapped_is_an_assumption() -> None:
    """The kernel maps it in the default domain; nobody who uses VFIO gets such a device, or has the relaxable ones."""

    def of(kind: str, holders: tuple[Holder, ...] = ()) -> set[str]:
        host = machine(*slots(CLOSED, CLOSED))
        regions = ReservedRegion(0xFEE00000, 0xFEEFFFFF, "msi"), ReservedRegion(0x7B800000, 0x7FFFFFFF, kind)
        groups = {n: replace(g, reserved_regions=Known(regions)) for n, g in value_of(host.groups, {}).items()}
        return ids(proof(replace(host, groups=Known(groups), holders=Known(holders)), red="01:00.0"))

    held = (Holder(7, "vmm", (), (at("01:00.0"),), Known(1)),)
    assert "firmware-mappings" in of("direct")
    assert "firmware-mappings" in of("direct-relaxable")
    assert "firmware-mappings" not in of("reserved")
    assert "firmware-mappings" not in of("direct-relaxable", held)


def _mapped_by_firmware(host: Host, **of: ReservedRegion | Unknown) -> Host:
    """The host with one reserved region, or with none that was read, in the group of each function."""
    groups: dict[int, Group] = {}
    for number, group in value_of(host.groups, {}).items():
        regions = of.get(f"bus{group.members[0].bus:x}")
        told: Fact[tuple[ReservedRegion, ...]] = Known(()) if regions is None else Unknown("not read")
        told = Known((regions,)) if isinstance(regions, ReservedRegion) else told
        groups[number] = replace(group, reserved_regions=told)
    return replace(host, groups=Known(groups))


@pytest.mark.parametrize(
    ("start", "command", "verdict"),
    [
        (0x7B80_0000, Command.MEMORY | Command.MASTER, VIOLATED),
        (0x7C00_0000, Command.MEMORY | Command.MASTER, PROVEN),
        (0x7B80_0000, Command.MEMORY, PROVEN),
        (0x7B80_0000, None, UNKNOWN),
    ],
)
def test_what_firmware_has_mapped_for_devices_of_two_clusters_joins_them(
    start: int, command: Command | None, verdict: Verdict
) -> None:
    """One RMRR for both: what one writes there, the other reads. The host is trusted with its own."""
    settings = Unknown("not read") if command is None else Known(command)
    host = _mapped_by_firmware(
        machine(*change(slots(CLOSED, CLOSED), "02:00.0", command=settings)),
        bus1=ReservedRegion(0x7B00_0000, 0x7BFF_FFFF, "direct"),
        bus2=ReservedRegion(start, start + 0xFFF, "direct-relaxable"),
    )
    found = proof(host, red="01:00.0", blue="02:00.0")
    pairs = {("01:00.0", "02:00.0", Breach.DOMAIN), ("02:00.0", "01:00.0", Breach.DOMAIN)}
    assert (found.verdict, wrong(found) >= pairs) == (verdict, verdict is not PROVEN)
    alone = proof(host, red="01:00.0")
    assert (alone.verdict, "firmware-mappings" in ids(alone)) == (PROVEN, True)


def test_what_firmware_has_mapped_may_not_have_been_read() -> None:
    host = _mapped_by_firmware(machine(*slots(CLOSED, CLOSED)), bus1=Unknown("not read"))
    assert "firmware-mappings" in ids(proof(host, red="01:00.0"))
    assert "firmware-mappings" not in ids(proof(host, red="02:00.0"))


def test_that_a_device_minds_its_bus_mastering_bit_is_an_assumption() -> None:
    off = change(slots(CLOSED, CLOSED), "01:00.0", command=Known(Command.MEMORY))
    assert "bus-mastering" in ids(proof(machine(*off), red="01:00.0"))
    assert "bus-mastering" not in ids(proof(machine(*off), red="02:00.0"))
    unread = change(slots(CLOSED, CLOSED), "01:00.0", command=Unknown("not read"))
    assert "bus-mastering" not in ids(proof(machine(*unread), red="01:00.0"))


def test_that_a_virtual_machine_is_what_it_shows_is_an_assumption() -> None:
    host = machine(*slots(CLOSED, CLOSED))
    assert "virtual-machine" not in ids(proof(host, red="01:00.0"))
    assert "virtual-machine" in ids(proof(replace(host, virtual=True), red="01:00.0"))
    assert "virtual-machine" in ids(proof(merge((host, replace(host, virtual=True))), red="01:00.0"))


@pytest.mark.parametrize(("kind", "assumed"), [(EndKind.OUTSIDE, True), (EndKind.SWITCH, True), (EndKind.CPU, False)])
def test_that_links_off_the_host_lead_to_nobody_else_is_an_assumption(kind: EndKind, assumed: bool) -> None:
    """Chips of a rack join GPUs of many hosts, and a host shows its own."""
    cards = [port("00:01.0", 1), gpu("01:00.0", "00:01.0"), port("00:02.0", 2), endpoint("02:00.0", "00:02.0")]
    led = links("01:00.0", kind, (0, None), name="rack")
    assert ("off-host-links" in ids(proof(machine(*cards, links=led), red="01:00.0"))) is assumed
    assert "off-host-links" not in ids(proof(machine(*cards, links=led), red="02:00.0"))
    assert "off-host-links" not in ids(proof(machine(*cards, links=led, masks={"01:00.0": 0x10000}), red="01:00.0"))


def test_parts_of_a_proof_add_up() -> None:
    host = machine(*switch(OFF, acs("RR CR UF"), CLOSED))
    named = clusters(host, red="03:00.0", blue="04:00.0", green="05:00.0")
    reach = scene(host).reach()
    whole = prove(reach, named)
    parts = [v for a in named.owner() for v in breaches(reach, named, {a})]
    assert sorted(map(repr, parts)) == sorted(map(repr, (*whole.violations, *whole.unknown)))
    assert refuted(reach, named)
    assert [a for a in named.owner() if refuted(reach, named, {a})] == [at("03:00.0"), at("04:00.0")]
    assert all(v.answer in (Answer.DIRECT, Answer.POSSIBLE) for v in parts)


def test_spaces_told_apart_by_process_alone_rest_on_an_assumption() -> None:
    def held(*pids: int) -> set[str]:
        both = zip(pids, (at("01:00.0"), at("02:00.0")), strict=True)
        holders = tuple(Holder(pid, "vmm", (), (device,), Known(1)) for pid, device in both)
        host = replace(machine(*slots(CLOSED, CLOSED)), holders=Known(holders))
        return ids(proof(host, red="01:00.0", blue="02:00.0"))

    assert "separate-containers" in held(10, 11)
    assert "separate-containers" not in held(10, 10)
