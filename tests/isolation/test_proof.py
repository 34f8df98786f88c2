"""Proofs: what is proven, refuted, or not known, and what it rests on."""

from __future__ import annotations

from dataclasses import replace

import pytest
from proofs import PROVEN, UNKNOWN, VIOLATED, ids, proof, wrong
from reach_hosts import (
    CLOSED,
    OFF,
    acs,
    at,
    clusters,
    endpoint,
    machine,
    port,
    scene,
    slots,
    switch,
)

from atoll.fabric.answer import Answer, Policy
from atoll.fabric.settings import Domain, DomainKind
from atoll.host.fact import Known, Unknown, value_of
from atoll.host.model import Group, Holder, Host
from atoll.host.records.merge.hosts import merge
from atoll.isolation.clusters import HOST, Cluster, Clusters, Handover
from atoll.isolation.proof import Breach, Proof, Verdict, breaches, prove, refuted, verdict_of
from atoll.pci.header import Command, PortType
from atoll.twin import Twin


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
