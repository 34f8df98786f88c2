"""Which address space a function is in, and what an NPU lets through."""

from __future__ import annotations

from dataclasses import replace

import pytest
from reach_hosts import at, endpoint, machine

from atoll.fabric.default_domain import default_domain
from atoll.fabric.domains import cpu_link_domains, domains, holder_of
from atoll.fabric.settings import Domain, DomainKind
from atoll.host.fact import Known, Unknown
from atoll.host.model import Group, Holder, Host, KernelRelease, NpuBrick, Platform
from atoll.host.records.merge.hosts import merge
from atoll.pci.address import Address

CARD = at("01:00.0")
NOBODY: Known[tuple[Holder, ...]] = Known(())
HIDDEN = Unknown("processes were not captured")


def one(host: Host) -> Domain:
    return domains(host)[CARD]


@pytest.mark.parametrize(
    "host",
    [
        replace(machine(endpoint("01:00.0")), groups=Unknown("not captured")),
        machine(endpoint("01:00.0", group=Unknown("not captured"))),
        replace(machine(endpoint("01:00.0")), groups=Known({})),
        replace(machine(endpoint("01:00.0", driver=Unknown("not captured"))), holders=HIDDEN),
        replace(machine(endpoint("01:00.0", driver="vfio-pci")), holders=HIDDEN),
        replace(machine(endpoint("01:00.0", driver="hisi-acc-vfio-pci")), holders=HIDDEN),
    ],
    ids=["groups", "group", "group not listed", "driver and holders", "vfio-pci's holder", "a variant's holder"],
)
def test_what_was_not_read_is_unknown(host: Host) -> None:
    assert one(host).kind is DomainKind.UNKNOWN


def test_a_host_driver_needs_no_holder() -> None:
    assert one(replace(machine(endpoint("01:00.0", driver="nvme")), holders=HIDDEN)).kind is DomainKind.TRANSLATED


def holding(*holders: Holder, driver: str = "vfio-pci") -> Host:
    host = machine(endpoint("01:00.0", driver=driver), endpoint("02:00.0", driver=driver), kind="identity")
    return replace(host, holders=Known(holders))


def test_a_driver_that_vfio_has_a_device_from_needs_one_whatever_it_is_called() -> None:
    """NVIDIA's driver hands its virtual functions to user space through VFIO, and is called as it always is."""
    host = replace(machine(endpoint("01:00.0", driver="nvidia")), holders=HIDDEN)
    assert one(host).kind is DomainKind.TRANSLATED
    assert one(replace(host, vfio_devices=frozenset({CARD}))).kind is DomainKind.UNKNOWN
    assert one(replace(host, vfio_devices=frozenset({CARD}), holders=NOBODY)).kind is DomainKind.TRANSLATED
    assert one(merge((host, replace(host, vfio_devices=frozenset({CARD}))))).kind is DomainKind.UNKNOWN


def test_a_holder_of_the_group_or_of_the_device_translates() -> None:
    group = machine(endpoint("01:00.0"), endpoint("02:00.0")).functions[CARD].group
    assert isinstance(group, Known)
    assert group.value is not None
    for holder in (Holder(7, "vmm", (group.value,), (), Known(1)), Holder(7, "vmm", (), (CARD,), Known(1))):
        host = holding(holder)
        assert domains(host)[CARD] == Domain(DomainKind.TRANSLATED, "process 7", "held open by vmm (7)")
        assert domains(host)[at("02:00.0")].kind is DomainKind.IDENTITY
        assert holder_of(host, host.functions[CARD]) == holder
        assert holder_of(host, host.functions[at("02:00.0")]) is None


def test_how_many_containers_a_holder_has() -> None:
    """Several may keep devices apart; none is no address space yet."""
    one_of_two = domains(holding(Holder(7, "vmm", (), (CARD,), Known(2))))[CARD]
    assert (one_of_two.kind, one_of_two.certain) == (DomainKind.TRANSLATED, False)
    assert domains(holding(Holder(7, "vmm", (), (CARD,), Known(0))))[CARD].kind is DomainKind.UNKNOWN
    assert not domains(holding(Holder(7, "vmm", (), (CARD,))))[CARD].certain


def test_descriptors_handed_on_leave_open_who_holds_what() -> None:
    other = Address.parse("0000:7f:00.0")
    for holder in (Holder(7, "vmm", (), ()), Holder(7, "vmm", (), (other,), nameless=True)):
        assert domains(holding(holder))[CARD].kind is DomainKind.UNKNOWN
    assert domains(holding(Holder(7, "vmm", (), (other,))))[CARD].kind is not DomainKind.UNKNOWN


def test_what_is_open_and_nobody_shows_may_be_in_any_address_space() -> None:
    parked = replace(holding(), opened=frozenset({CARD}))
    assert domains(parked)[CARD].because == "it is open for VFIO, in no process that is seen"
    assert domains(parked)[CARD].kind is DomainKind.UNKNOWN
    assert domains(parked)[at("02:00.0")].kind is DomainKind.IDENTITY
    shown = replace(holding(Holder(7, "vmm", (), (CARD,), Known(1))), opened=frozenset({CARD}))
    assert domains(shown)[CARD].kind is DomainKind.TRANSLATED


def test_without_an_iommu_it_does_not_matter_who_holds_it() -> None:
    """VFIO can have opened it then as well, in no-IOMMU mode: nothing translates either way."""
    unread = replace(endpoint("01:00.0", group=None), driver=Unknown("a list tells no driver"))
    found = one(replace(machine(unread), groups=Known({}), iommu_units=(), holders=HIDDEN))
    assert (found.kind, found.because) == (DomainKind.NONE, "no IOMMU is in use on this host")
    assert one(replace(machine(unread), groups=HIDDEN, iommu_units=(), holders=HIDDEN)).kind is DomainKind.UNKNOWN


def test_no_iommu_mode_translates_nothing_whoever_holds_it() -> None:
    host = holding(Holder(7, "dpdk", (), (CARD,), Known(1)))
    assert isinstance(host.groups, Known)
    groups = {n: replace(g, name="vfio-noiommu") for n, g in host.groups.value.items()}
    assert domains(replace(host, groups=Known(groups)))[CARD].kind is DomainKind.NONE


def test_default_domains_look_past_holders() -> None:
    host = holding(Holder(7, "vmm", (), (CARD,), Known(1)))
    assert default_domain(host, host.functions[CARD]).kind is DomainKind.IDENTITY


def test_ports_have_none() -> None:
    assert domains(machine()) == {}


def npu(
    driver: str | Unknown | None = None,
    *,
    shown: bool = True,
    kernel: tuple[int, int] | None = (5, 4),
    holders: Known[tuple[Holder, ...]] | Unknown = NOBODY,
) -> DomainKind:
    brick = at("0007:00:00.0")
    host = machine(endpoint("01:00.0", driver=driver), endpoint(str(brick)), platform=Platform.POWERNV)
    release = Unknown("?") if kernel is None else Known(KernelRelease(*kernel, ""))
    told = NpuBrick("pciex/pci@0", "npu", CARD, brick if shown else None, 0)
    found = cpu_link_domains(replace(host, npu_bricks=(told,), kernel=release, holders=holders))
    assert set(found) == {CARD}
    return found[CARD].kind


def test_npu() -> None:
    assert npu("nvidia") is DomainKind.IDENTITY
    assert npu(None) is DomainKind.UNKNOWN
    assert npu("vfio-pci") is DomainKind.UNKNOWN
    assert npu(Unknown("not captured")) is DomainKind.UNKNOWN
    assert npu("vfio-pci", holders=Known((Holder(7, "vmm", (), (CARD,)),))) is DomainKind.TRANSLATED
    assert npu("nvidia", holders=HIDDEN) is DomainKind.UNKNOWN
    assert npu(shown=False, kernel=(6, 12)) is DomainKind.BLOCKED
    assert npu(shown=False, kernel=(5, 13)) is DomainKind.BLOCKED
    assert npu(shown=False, kernel=(5, 12)) is DomainKind.UNKNOWN
    assert npu(shown=False, kernel=None) is DomainKind.UNKNOWN


def test_a_group_of_several() -> None:
    host = machine(endpoint("01:00.0", group=5), endpoint("02:00.0", group=5))
    assert host.groups == Known({5: Group(5, (CARD, at("02:00.0")), Known("DMA"), Known(()))})
    assert domains(host)[CARD].space == domains(host)[at("02:00.0")].space == "group 5"


def test_what_is_in_no_group_is_not_translated_for_being_held() -> None:
    """VFIO has device files for what no IOMMU serves, too: /dev/vfio/devices/noiommu-vfioN, and a container beside."""
    holder = Holder(7, "dpdk", (), (CARD,), Known(1))
    for group, kind in ((None, DomainKind.NONE), (Unknown("not captured"), DomainKind.UNKNOWN)):
        host = machine(endpoint("01:00.0", group=group, driver="vfio-pci"))
        assert one(replace(host, holders=Known((holder,)))).kind is kind
