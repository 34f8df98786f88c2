"""Drivers of a twin's devices: how they are bound, and the virtual functions that come and go with them."""

from __future__ import annotations

import errno

import pytest

from atoll.twin import Twin
from twin.bench import at, give, sysfs, text

GPU = at("0004:04:00.0")


def test_binding_by_override() -> None:
    twin = Twin.new("ac922-4gpu")
    assert text(twin, sysfs(GPU, "driver_override")) == "(null)"
    give(twin, GPU)
    assert twin.readlink(sysfs(GPU, "driver")).endswith("drivers/vfio-pci")
    assert str(GPU) in twin.list("sys/bus/pci/drivers/vfio-pci")
    assert str(GPU) not in twin.list("sys/bus/pci/drivers/nouveau")
    assert twin.peek(GPU, "config", 4) & 0x6 == 0x2, "unbinding clears bus mastering only"
    twin.write(sysfs(GPU, "driver_override"), b"\n")
    twin.write("sys/bus/pci/drivers/vfio-pci/unbind", str(GPU).encode())
    assert "driver" not in twin.list(f"sys/bus/pci/devices/{GPU}")
    twin.write("sys/bus/pci/drivers_probe", str(GPU).encode())
    assert twin.readlink(sysfs(GPU, "driver")).endswith("drivers/nouveau")
    assert twin.peek(GPU, "config", 4) & 0x6 == 0x6


def test_binding_by_new_id() -> None:
    twin = Twin.new("ac922-4gpu")
    twin.write(sysfs(GPU, "driver/unbind"), str(GPU).encode())
    twin.write("sys/bus/pci/drivers/vfio-pci/new_id", b"10de 1db1")
    assert twin.readlink(sysfs(GPU, "driver")).endswith("drivers/vfio-pci")
    with pytest.raises(FileExistsError):
        twin.write("sys/bus/pci/drivers/vfio-pci/new_id", b"10de 1db1")
    twin.write("sys/bus/pci/drivers/vfio-pci/remove_id", b"10de 1db1")
    with pytest.raises(OSError, match="does not know"):
        twin.write("sys/bus/pci/drivers/vfio-pci/remove_id", b"10de 1db1")


def test_virtual_functions_come_and_go() -> None:
    twin = Twin.new("pcie-box")
    here = "sys/bus/pci/devices/0000:0c:00.0"
    assert text(twin, f"{here}/sriov_numvfs") == "4"
    assert twin.readlink(f"{here}/virtfn2") == "../0000:0c:00.3"
    assert twin.readlink("sys/bus/pci/devices/0000:0c:00.3/physfn") == "../0000:0c:00.0"
    with pytest.raises(OSError, match="enabled already"):
        twin.write(f"{here}/sriov_numvfs", b"2")
    twin.write(f"{here}/sriov_numvfs", b"0")
    assert "0000:0c:00.1" not in twin.list("sys/bus/pci/devices")
    twin.write(f"{here}/sriov_numvfs", b"2")
    assert "0000:0c:00.2" in twin.list("sys/bus/pci/devices")
    assert "0000:0c:00.3" not in twin.list("sys/bus/pci/devices")
    with pytest.raises(OSError, match="has 4 VFs") as caught:
        twin.write(f"{here}/sriov_numvfs", b"9")
    assert caught.value.errno == errno.ERANGE


def test_virtual_functions_go_with_the_driver_of_their_physical_one() -> None:
    twin = Twin.new("pcie-box")
    give(twin, at("0000:0c:00.1"))
    twin.lease_vfio(at("0000:0c:00.1"), holder="red")
    for path in ("driver/unbind", "remove"):
        with pytest.raises(OSError, match=r"0000:0c:00\.1 is open through VFIO"):
            twin.write(f"sys/bus/pci/devices/0000:0c:00.0/{path}", b"1" if path == "remove" else b"0000:0c:00.0")
    twin.event("close", [at("0000:0c:00.1")])
    twin.write("sys/bus/pci/devices/0000:0c:00.0/remove", b"1")
    assert not [name for name in twin.list("sys/bus/pci/devices") if name.startswith("0000:0c")]
    twin.write("sys/bus/pci/rescan", b"1")
    assert [name for name in twin.list("sys/bus/pci/devices") if name.startswith("0000:0c")] == ["0000:0c:00.0"]


def test_a_bus_reset_is_listed_for_who_was_found_first() -> None:
    twin = Twin.new("pcie-box")
    first, second = at("0000:0c:00.0"), at("0000:0c:00.1")
    assert text(twin, sysfs(first, "reset_method")).split()[-1] == "bus", "found before its virtual functions"
    assert "bus" not in text(twin, sysfs(second, "reset_method"))
    with pytest.raises(OSError, match="no reset method") as caught:
        twin.reset(first, "bus")
    assert caught.value.errno == errno.ENOTTY, "listed, and refused: others are on the bus now"
    with pytest.raises(OSError, match="no reset method"):
        twin.write(sysfs(first, "reset_method"), b"bus")
    twin.write(sysfs(first, "reset_method"), b"default")
    assert "bus" not in text(twin, sysfs(first, "reset_method")), "found out anew"
    twin.write("sys/bus/pci/devices/0000:08:00.0/remove", b"1")
    twin.reset(at("0000:08:00.1"), "bus")
    assert "bus" not in text(twin, sysfs(at("0000:08:00.1"), "reset_method")), "alone by now, and not found so"


def test_a_reset_that_is_found_no_more_leaves_its_files() -> None:
    """``default`` asks anew: beside another function a bus reset is none. Which files there are was settled before."""
    twin = Twin.new("pcie-box")
    first = at("0000:08:00.0")
    assert text(twin, sysfs(first, "reset_method")).split() == ["bus"]
    twin.write(sysfs(first, "reset_method"), b"default")
    twin.write("sys/bus/pci/devices/0000:0c:00.0/remove", b"1")
    assert text(twin, sysfs(first, "reset_method")).split() == []
    with pytest.raises(OSError, match="no reset method that works"):
        twin.write(sysfs(first, "reset"), b"1")
    twin.write("sys/bus/pci/devices/0000:08:00.1/remove", b"1")
    twin.write(sysfs(first, "reset_method"), b"default")
    assert text(twin, sysfs(first, "reset_method")).split() == ["bus"]
