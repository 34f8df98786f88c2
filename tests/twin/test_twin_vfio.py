"""VFIO on a twin: who may open what, what opening and closing reset, what processes show."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from atoll.twin import Twin
from twin.bench import ALL_PEERS, DISABLE, at, cut, give, sysfs, text

RED, BLUE = at("0004:04:00.0"), at("0004:05:00.0")


def command(twin: Twin, address: object = RED) -> int:
    return twin.peek(RED, "config", 4) & 0xFFFF


def test_open_and_close_each_reset_and_leave_mastering_off() -> None:
    twin = Twin.new("ac922-4gpu")
    give(twin, RED)
    cut(twin, RED)
    lease = twin.lease_vfio(RED, holder="atoll-hold:red")
    assert lease.reset_on_open
    assert lease.reset_on_close
    assert lease.read32(0, DISABLE) == 0
    assert command(twin) & 0x6 == 0x2
    cut(twin, RED)
    assert lease.read32(0, DISABLE) == ALL_PEERS
    lease.reset()
    assert lease.read32(0, DISABLE) == 0
    cut(twin, RED)
    lease.close()
    assert twin.peek(RED, "bar0", DISABLE) == 0
    assert command(twin) & 0x4 == 0
    lease.close()
    with pytest.raises(OSError, match="not open") as caught:
        lease.read32(0, 0)
    assert caught.value.errno == errno.EBADF


def test_same_holder_gets_the_same_lease_and_no_second_reset() -> None:
    twin = Twin.new("ac922-4gpu")
    give(twin, RED)
    lease = twin.lease_vfio(RED, holder="red")
    cut(twin, RED)
    assert twin.lease_vfio(RED, holder="red") is lease
    assert twin.peek(RED, "bar0", DISABLE) == ALL_PEERS


def test_host_driver_and_other_holders_stand_in_the_way() -> None:
    twin = Twin.new("ac922-4gpu")
    with pytest.raises(OSError, match="bound to nouveau") as caught:
        twin.lease_vfio(RED, holder="red")
    assert caught.value.errno == errno.ENODEV
    give(twin, RED)
    twin.lease_vfio(RED, holder="red")
    with pytest.raises(OSError, match="held by red") as caught:
        twin.lease_vfio(RED, holder="blue")
    assert caught.value.errno == errno.EBUSY
    with pytest.raises(OSError, match="open through VFIO"):
        twin.lease_resource(RED)
    for path, data in (("driver/unbind", b"0004:04:00.0"), ("remove", b"1")):
        with pytest.raises(OSError, match="open through VFIO"):
            twin.write(sysfs(RED, path), data)


def test_group_with_a_host_driver_is_not_viable() -> None:
    twin = Twin.new("ac922-4gpu", kernel="5.4")
    give(twin, RED)
    with pytest.raises(OSError, match=r"not viable: 0004:05:00\.0 has nvidia") as caught:
        twin.event("vm-start", [RED])
    assert caught.value.errno == errno.EPERM
    give(twin, BLUE)
    twin.lease_vfio(RED, holder="red")
    with pytest.raises(OSError, match="held by red"):
        twin.lease_vfio(BLUE, holder="blue")
    twin.write(sysfs(BLUE, "driver_override"), b"\n")
    twin.write(sysfs(BLUE, "driver/unbind"), str(BLUE).encode())
    with pytest.raises(OSError, match="owned through VFIO"):
        twin.write("sys/bus/pci/drivers/nvidia/bind", str(BLUE).encode())


def test_processes_show_what_they_hold() -> None:
    twin = Twin.new("ac922-4gpu")
    before = set(twin.list("proc"))
    give(twin, RED, BLUE)
    leases = [twin.lease_vfio(address, holder="atoll-hold:crimson") for address in (RED, BLUE)]
    (pid,) = set(twin.list("proc")) - before
    assert text(twin, f"proc/{pid}/comm") == "atoll-hold:crim"
    targets = [twin.readlink(f"proc/{pid}/fd/{fd}") for fd in twin.list(f"proc/{pid}/fd")]
    groups = [twin.readlink(sysfs(address, "iommu_group")).rsplit("/", 1)[1] for address in (RED, BLUE)]
    assert {"/dev/vfio/vfio", *(f"/dev/vfio/{group}" for group in groups)} <= set(targets)
    assert targets.count("anon_inode:[vfio-device]") == 2
    assert set(groups) <= set(twin.list("dev/vfio"))
    leases[0].close()
    assert [twin.readlink(f"proc/{pid}/fd/{fd}") for fd in twin.list(f"proc/{pid}/fd")].count(
        "anon_inode:[vfio-device]"
    ) == 1
    leases[1].close()
    assert set(twin.list("proc")) == before


def test_virtual_machine_from_start_to_stop() -> None:
    twin = Twin.new("ac922-4gpu")
    give(twin, RED, BLUE)
    cut(twin, RED)
    twin.event("vm-start", [RED, BLUE])
    assert command(twin) & 0x6 == 0x6
    assert twin.peek(RED, "bar0", DISABLE) == 0
    assert [pid for pid in twin.list("proc") if pid.isdigit() and "qemu-system" in text(twin, f"proc/{pid}/comm")]
    cut(twin, RED)
    twin.event("vm-reset", [BLUE])
    assert twin.peek(RED, "bar0", DISABLE) == 0, "a guest's reboot resets all of its devices"
    cut(twin, RED)
    twin.event("vm-stop", [RED])
    assert twin.peek(RED, "bar0", DISABLE) == 0
    assert command(twin) & 0x4 == 0
    with pytest.raises(OSError, match="not open"):
        twin.event("vm-stop", [RED])


def test_failing_event_changes_nothing() -> None:
    twin = Twin.new("ac922-4gpu")
    give(twin, RED)
    cut(twin, RED)
    with pytest.raises(OSError, match="bound to nouveau"):
        twin.event("open", [RED, BLUE])
    assert twin.peek(RED, "bar0", DISABLE) == ALL_PEERS
    twin.event("open", [RED])
    with pytest.raises(OSError, match="runs no guest"):
        twin.event("vm-reset", [RED])
    with pytest.raises(OSError, match="held by"):
        twin.event("vm-start", [RED])
    twin.event("close", [RED])
    with pytest.raises(OSError, match="not open"):
        twin.event("close", [RED])


def test_a_device_that_is_named_twice_is_one_device() -> None:
    twin = Twin.new("ac922-4gpu")
    give(twin, RED, BLUE)
    for kind in ("open", "close", "vm-start", "vm-reset", "vm-stop", "open", "kill"):
        twin.event(kind, [RED, BLUE, RED])
    assert twin.vfio.holders == {}


def test_emptied_reset_method_stops_function_resets_but_not_a_guest_or_the_close() -> None:
    twin = Twin.new("ac922-4gpu")
    give(twin, RED)
    twin.write(sysfs(RED, "reset_method"), b"\n")
    cut(twin, RED)
    lease = twin.lease_vfio(RED, holder="red")
    assert not lease.reset_on_open
    assert twin.peek(RED, "bar0", DISABLE) == ALL_PEERS
    with pytest.raises(OSError, match="cannot be reset") as caught:
        lease.reset()
    assert caught.value.errno == errno.EINVAL
    assert lease.reset_on_close
    lease.close()
    assert twin.peek(RED, "bar0", DISABLE) == 0
    cut(twin, RED)
    twin.event("vm-start", [RED])
    assert twin.peek(RED, "bar0", DISABLE) == 0, "a VMM falls back to a hot reset"


def test_suspend_keeps_descriptors_open() -> None:
    twin = Twin.new("ac922-4gpu")
    give(twin, RED)
    lease = twin.lease_vfio(RED, holder="red")
    cut(twin, RED)
    twin.event("suspend")
    assert lease.read32(0, DISABLE) == 0
    assert lease.read32(0, 0) == 0x140000A1


def test_who_is_killed_closes_everything() -> None:
    twin = Twin.new("ac922-4gpu")
    for gpu in (RED, BLUE):
        give(twin, gpu)
        lease = twin.lease_vfio(gpu, holder="atoll-hold:red")
        cut(twin, gpu)
    twin.event("kill", [RED])
    assert twin.vfio.holders == {}
    assert (twin.peek(RED, "bar0", DISABLE), twin.peek(BLUE, "bar0", DISABLE)) == (0, 0)
    with pytest.raises(OSError, match="not open"):
        lease.read32(0, 0)
    with pytest.raises(OSError, match="not open"):
        twin.event("kill", [RED])


def test_a_reboot_leaves_nothing_but_files(tmp_path: Path) -> None:
    fresh, twin = Twin.new("ac922-4gpu"), Twin.new("ac922-4gpu")
    give(twin, RED)
    twin.lease_vfio(RED, holder="red")
    cut(twin, RED)
    twin.write("var/lib/atoll/x", b"kept")
    twin.write("run/atoll/y", b"lost")
    boot = text(twin, "proc/sys/kernel/random/boot_id")
    twin.event("reboot")
    assert text(twin, "proc/sys/kernel/random/boot_id") != boot
    assert twin.own_files == {"var/lib/atoll/x": b"kept"}
    assert twin.peek(RED, "bar0", DISABLE) == 0
    assert twin.vfio.holders == {}
    driver = sysfs(RED, "driver")
    assert twin.readlink(driver) == fresh.readlink(driver)
    twin.save(tmp_path / "twin")
    again = Twin.load(tmp_path / "twin")
    assert text(again, "proc/sys/kernel/random/boot_id") == text(twin, "proc/sys/kernel/random/boot_id")


def test_what_a_bridge_that_has_a_driver_decodes_stays_as_it_was_set(tmp_path: Path) -> None:
    """``pci_enable_bridge`` leaves a bridge that is enabled as it is; of one that nobody enabled it enables all, and of
    one enabled by ``enable`` bus mastering, once (``pci_dev.is_busmaster``)."""
    twin = Twin.new("ac922-4gpu")
    give(twin, RED)
    above = twin.kernel.hardware.parent(twin.kernel.hardware.functions[RED])
    assert above is not None
    twin.poke(above.address, "config", 4, 0)
    twin.lease_vfio(RED, holder="atoll-hold:red").close()
    assert twin.peek(above.address, "config", 4) & 0x7 == 0
    unbind = f"sys/bus/pci/devices/{above.address}/driver/unbind"
    twin.write(unbind, str(above.address).encode())
    twin.lease_vfio(RED, holder="atoll-hold:red").close()
    assert twin.peek(above.address, "config", 4) & 0x6 == 0x6
    for expected in (0x0, 0x4, 0x0):
        twin.poke(above.address, "config", 4, 0)
        twin.save(tmp_path / "twin")
        twin = Twin.load(tmp_path / "twin")
        twin.lease_vfio(RED, holder="atoll-hold:red").close()
        assert twin.peek(above.address, "config", 4) & 0x6 == expected
        if not expected:
            enable = f"sys/bus/pci/devices/{above.address}/enable"
            twin.write(enable, b"0")
            twin.write(enable, b"1")
