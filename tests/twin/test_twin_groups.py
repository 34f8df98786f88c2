"""IOMMU groups of a twin: as its kernel forms them, and what forms them anew."""

from __future__ import annotations

import pytest

from atoll.twin import Twin
from twin.bench import at, get_acs, give, set_acs, sysfs, text

GPU = at("0004:04:00.0")


def group_of(twin: Twin, address: str) -> str:
    return twin.readlink(f"sys/bus/pci/devices/{address}/iommu_group").rsplit("/", 1)[1]


def members(twin: Twin, address: str) -> set[str]:
    return set(twin.list(f"sys/bus/pci/devices/{address}/iommu_group/devices"))


def test_removed_device_comes_back_with_defaults() -> None:
    twin = Twin.new("ac922-4gpu")
    give(twin, GPU)
    before = group_of(twin, str(GPU))
    twin.write(sysfs(GPU, "remove"), b"1")
    assert str(GPU) not in twin.list("sys/bus/pci/devices")
    assert before not in twin.list("sys/kernel/iommu_groups")
    with pytest.raises(OSError, match="No such device"):
        twin.reset(GPU, "bus")
    twin.write("sys/bus/pci/devices/0004:02:0a.0/rescan", b"1")
    assert group_of(twin, str(GPU)) == before, "the lowest free number"
    assert text(twin, sysfs(GPU, "driver_override")) == "(null)"
    assert twin.readlink(sysfs(GPU, "driver")).endswith("nouveau")


def test_removing_a_switch_takes_all_below() -> None:
    twin = Twin.new("ac922-4gpu")
    before = twin.list("sys/bus/pci/devices")
    twin.write("sys/bus/pci/devices/0035:01:00.0/remove", b"1")
    assert [name for name in twin.list("sys/bus/pci/devices") if name.startswith("0035")] == ["0035:00:00.0"]
    twin.write("sys/bus/pci/devices/0035:00:00.0/pci_bus/0035:01/rescan", b"1")
    assert twin.list("sys/bus/pci/devices") == before


def test_groups_of_power_machines() -> None:
    new, old = Twin.new("ac922-4gpu"), Twin.new("ac922-4gpu", kernel="5.4")
    isolating = Twin.new("ac922-4gpu", kernel="5.4-isolate")
    assert members(new, "0004:04:00.0") == {"0004:04:00.0"}
    assert members(new, "0030:01:00.0") == {"0030:01:00.0", "0030:01:00.1"}
    assert "iommu_group" not in new.list("sys/bus/pci/devices/0004:02:0a.0")
    assert members(old, "0004:04:00.0") == {
        *("0004:04:00.0", "0004:05:00.0"),
        *(f"0006:00:0{group}.{n}" for group in (0, 1) for n in (0, 1, 2)),
    }
    assert members(isolating, "0004:05:00.0") == {"0004:05:00.0", *(f"0006:00:01.{n}" for n in (0, 1, 2))}
    assert not [name for name in new.list("sys/bus/pci/devices") if name.startswith("0006")]


def test_groups_of_the_box() -> None:
    twin = Twin.new("pcie-box")
    assert members(twin, "0000:03:00.0") == {"0000:03:00.0"}
    assert members(twin, "0000:05:00.0") == {"0000:02:02.0", "0000:05:00.0"}, "separate slots without ACS"
    assert members(twin, "0000:07:00.0") == {"0000:00:02.0", "0000:07:00.0"}
    assert members(twin, "0000:08:00.0") == {"0000:08:00.0", "0000:08:00.1"}
    assert members(twin, "0000:09:00.0") == {"0000:09:00.0"}
    assert members(twin, "0000:0b:00.0") == {"0000:0a:00.0", "0000:0b:00.0", "0000:0b:01.0"}
    assert members(twin, "0000:0c:00.3") == {"0000:0c:00.3"}


def test_regrouping_follows_live_control_and_touching_the_port_brings_policy_back() -> None:
    twin = Twin.new("pcie-box")
    port = at("0000:02:00.0")
    policy = get_acs(twin, port)
    assert policy == 0x1D
    set_acs(twin, port, 0x19)
    assert members(twin, "0000:03:00.0") == {"0000:03:00.0"}, "nothing is evaluated again"
    twin.write("sys/bus/pci/devices/0000:03:00.0/remove", b"1")
    twin.write("sys/bus/pci/rescan", b"1")
    assert members(twin, "0000:03:00.0") == {"0000:02:00.0", "0000:03:00.0"}
    twin.write(sysfs(port, "remove"), b"1")
    twin.write("sys/bus/pci/rescan", b"1")
    assert get_acs(twin, port) == policy
    assert members(twin, "0000:03:00.0") == {"0000:03:00.0"}


def test_reset_of_a_switch_brings_policy_back() -> None:
    twin = Twin.new("pcie-box")
    port = at("0000:02:00.0")
    set_acs(twin, port, 0x5F)
    twin.reset(at("0000:00:01.0"), "subordinate")
    assert get_acs(twin, port) == 0x1D
    set_acs(twin, port, 0x5F)
    twin.event("suspend")
    assert get_acs(twin, port) == 0x1D


def test_type_of_a_group() -> None:
    twin = Twin.new("pcie-box")
    path = f"sys/kernel/iommu_groups/{group_of(twin, '0000:03:00.0')}/type"
    with pytest.raises(PermissionError, match="bound to xdma"):
        twin.write(path, b"identity")
    twin.write("sys/bus/pci/drivers/xdma/unbind", b"0000:03:00.0")
    twin.write(path, b"identity")
    assert text(twin, path) == "identity"
    with pytest.raises(OSError, match="Invalid argument"):
        twin.write(path, b"marvellous")
