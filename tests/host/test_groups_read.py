"""Groups: none, some, not captured, damaged."""

from __future__ import annotations

import pytest

from atoll.fabric.default_domain import default_domain
from atoll.fabric.settings import DomainKind
from atoll.host import read_host
from atoll.host.fact import Known, Unknown
from atoll.host.gap import GapKind
from atoll.host.groups import BEHIND_XEN
from atoll.host.model import ReservedRegion
from atoll.isolation.groups import predict
from atoll.pci.address import Address
from host.handmade import Link, function_files, tree_of

FUNCTION = function_files("0000:01:00.0")
FOLDER = "sys/devices/pci0000:01/0000:01:00.0"
GROUP = "sys/kernel/iommu_groups/7"


def test_groups() -> None:
    host = read_host(
        tree_of(
            {
                **FUNCTION,
                f"{GROUP}/devices/0000:01:00.0": Link("../../../../x"),
                f"{GROUP}/devices/arm-smmu.0": Link("../../../../y"),
                f"{GROUP}/type": "DMA-FQ\n",
                f"{GROUP}/reserved_regions": "0x00000000fee00000 0x00000000feefffff msi\n",
            }
        )
    )
    assert isinstance(host.groups, Known)
    group = host.groups.value[7]
    assert (group.members, group.others) == ((Address(0, 1, 0, 0),), ("arm-smmu.0",))
    assert group.type == Known("DMA-FQ", f"{GROUP}/type")
    assert isinstance(group.reserved_regions, Known)
    assert group.reserved_regions.value == (ReservedRegion(0xFEE00000, 0xFEEFFFFF, "msi"),)
    assert next(iter(host.functions.values())).group == Known(7, "sys/kernel/iommu_groups")


def test_damaged_regions_are_unknown() -> None:
    host = read_host(tree_of({**FUNCTION, f"{GROUP}/devices/x": "", f"{GROUP}/reserved_regions": "0x0 msi\n"}))
    assert isinstance(host.groups, Known)
    assert isinstance(host.groups.value[7].reserved_regions, Unknown)
    assert isinstance(host.groups.value[7].type, Unknown), "before Linux 5.11 there is no type"


def test_no_groups_are_known_where_the_kernel_says_so() -> None:
    complete = read_host(tree_of({**FUNCTION, "sys/kernel/uevent_seqnum": "1"}))
    assert isinstance(complete.groups, Known)
    assert not complete.groups.value
    group = next(iter(complete.functions.values())).group
    assert isinstance(group, Known)
    assert group.value is None


def test_no_groups_are_unknown_where_they_were_not_captured() -> None:
    for files in ({}, {"sys/kernel/mm/hugepages/x": ""}):
        host = read_host(tree_of({**FUNCTION, **files}))
        assert isinstance(host.groups, Unknown)
        assert isinstance(next(iter(host.functions.values())).group, Unknown)
        assert any(gap.what == "IOMMU groups" for gap in host.gaps)


def test_groups_that_all_lost_their_devices_are_unknown() -> None:
    files = {**FUNCTION, f"{GROUP}/type": "DMA\n", "sys/kernel/iommu_groups/8/type": "DMA\n"}
    bare = read_host(tree_of(files))
    assert isinstance(bare.groups, Unknown)
    assert "no group in it lists a device" in bare.groups.reason
    assert [address for address, _ in predict(bare).undetermined] == [Address(0, 1, 0, 0)]
    linked = read_host(tree_of({**files, f"{FOLDER}/iommu_group": Link("../../../kernel/iommu_groups/7")}))
    assert isinstance(linked.groups, Known)
    assert linked.groups.value[7].members == (Address(0, 1, 0, 0),)


def test_groups_from_the_functions_links() -> None:
    other = function_files("0000:02:00.0")
    host = read_host(tree_of({**FUNCTION, **other, f"{FOLDER}/iommu_group": Link("../../../kernel/iommu_groups/3")}))
    assert isinstance(host.groups, Known)
    assert host.groups.value[3].members == (Address(0, 1, 0, 0),)
    assert isinstance(host.functions[Address(0, 2, 0, 0)].group, Unknown)


@pytest.mark.parametrize("kept", [(), ("type",)])
def test_a_function_that_no_group_lists_is_where_its_link_says(kept: tuple[str, ...]) -> None:
    """A folder of a group that was lost, or could not be read, makes no group smaller."""
    other = function_files("0000:02:00.0")
    listed = {"sys/kernel/iommu_groups/3/devices/0000:02:00.0": Link("../../../../x")}
    link = {f"{FOLDER}/iommu_group": Link("../../../kernel/iommu_groups/7")}
    host = read_host(tree_of({**FUNCTION, **other, **listed, **link, **{f"{GROUP}/{name}": "DMA\n" for name in kept}}))
    assert isinstance(host.groups, Known)
    assert {number: group.members for number, group in host.groups.value.items()} == {
        3: (Address(0, 2, 0, 0),),
        7: (Address(0, 1, 0, 0),),
    }
    assert isinstance(host.groups.value[7].type, Known if kept else Unknown)
    assert host.functions[Address(0, 1, 0, 0)].group == Known(7, "sys/kernel/iommu_groups")


def test_links_tell_groups_whose_folders_all_are_lost() -> None:
    link = {f"{FOLDER}/iommu_group": Link("../../../kernel/iommu_groups/7")}
    host = read_host(tree_of({**FUNCTION, **link, "sys/kernel/iommu_groups/.kept": ""}))
    assert isinstance(host.groups, Known)
    assert host.groups.value[7].members == (Address(0, 1, 0, 0),)
    assert default_domain(host, host.functions[Address(0, 1, 0, 0)]).kind is DomainKind.UNKNOWN


def test_a_function_that_another_group_lists_than_its_link_names_is_in_neither_for_sure() -> None:
    """Where a record is of two moments: copied over an older one, or while functions were found anew."""
    other = function_files("0000:02:00.0")
    listed = {
        f"sys/kernel/iommu_groups/{n}/devices/0000:0{at}:00.0": Link("../../../../x") for n, at in ((3, 1), (7, 2))
    }
    links = {f"{FOLDER}/iommu_group": 7, "sys/devices/pci0000:02/0000:02:00.0/iommu_group": 7}
    named = {path: Link(f"../../../kernel/iommu_groups/{number}") for path, number in links.items()}
    host = read_host(tree_of({**FUNCTION, **other, **listed, **named}))
    first, second = Address(0, 1, 0, 0), Address(0, 2, 0, 0)
    assert isinstance(host.groups, Known)
    assert {number: group.members for number, group in host.groups.value.items()} == {3: (), 7: (second,)}
    assert isinstance(host.functions[first].group, Unknown)
    assert host.functions[second].group == Known(7, "sys/kernel/iommu_groups")
    assert [gap.of for gap in host.gaps if gap.kind is GapKind.GROUP] == [(first,)]
    assert predict(host).open_about(first)


_XEN = "sys/hypervisor/type", "xen\n"
_DOM0 = "proc/xen/capabilities", "control_d\n"


@pytest.mark.parametrize("told", [dict([_XEN]), dict([_DOM0]), {"sys/hypervisor/type": "kvm\n"}])
def test_on_xen_linux_shows_no_groups_and_knows_of_no_iommu(told: dict[str, str]) -> None:
    """Xen hides the firmware's tables: that there are no groups tells nothing; nor do the names of interrupt chips."""
    host = read_host(
        tree_of(
            {
                **FUNCTION,
                **told,
                "sys/kernel/iommu_groups/x": "",
                "proc/cpuinfo": "vendor_id : X\nflags : fpu hypervisor\n",
                "proc/interrupts": "24: 7 xen-pirq -msi nvme\n",
            }
        )
    )
    xen = "kvm\n" not in told.values()
    function = next(iter(host.functions.values()))
    assert (host.groups == Unknown(BEHIND_XEN), isinstance(function.group, Unknown)) == (xen, xen)
    assert (default_domain(host, function).kind is DomainKind.UNKNOWN) is xen
    assert isinstance(host.interrupt_remapping, Unknown)
    assert host.virtual is ("proc/xen/capabilities" not in told), "dom0 sees the machine as it is"


def test_groups_that_a_kernel_on_xen_has_count() -> None:
    """A virtual IOMMU of a guest's own, say."""
    host = read_host(
        tree_of({**FUNCTION, "sys/hypervisor/type": "xen\n", f"{GROUP}/devices/0000:01:00.0": Link("../../../../x")})
    )
    assert isinstance(host.groups, Known)
    assert list(host.groups.value) == [7]
