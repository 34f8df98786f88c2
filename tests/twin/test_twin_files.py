"""The files of a twin: shape, errors, and what writing them does."""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Callable
from itertools import pairwise

import pytest

from atoll.twin import MACHINES, Twin, TwinError
from atoll.twin.decoding import forwarded
from twin.bench import at, get_acs, give, set_acs, sysfs, text

GPU = at("0004:04:00.0")


def group_of(twin: Twin, address: str) -> str:
    return twin.readlink(f"sys/bus/pci/devices/{address}/iommu_group").rsplit("/", 1)[1]


def is_link(twin: Twin, path: str) -> bool:
    try:
        return bool(twin.readlink(path))
    except OSError:
        return False


def members(twin: Twin, address: str) -> set[str]:
    return set(twin.list(f"sys/bus/pci/devices/{address}/iommu_group/devices"))


@pytest.mark.parametrize("name", MACHINES)
def test_every_link_leads_somewhere_and_every_file_can_be_read(name: str) -> None:
    twin = Twin.new(name)
    pending, seen = ["sys", "proc", "records", "dev"], 0
    while pending:
        path = pending.pop()
        for entry in twin.list(path):
            below = f"{path}/{entry}"
            if is_link(twin, below):
                with contextlib.suppress(NotADirectoryError):
                    twin.list(below)
                continue
            try:
                twin.list(below)
            except NotADirectoryError:
                seen += 1
                if "/resource" in below and below[-1].isdigit():
                    continue
                try:
                    twin.read(below)
                except PermissionError:
                    assert entry in {
                        *("bind", "unbind", "new_id", "remove_id", "uevent", "drivers_probe"),
                        *("rescan", "remove", "reset", "reset_subordinate"),
                    }
            else:
                pending.append(below)
    assert seen > 300


@pytest.mark.parametrize("name", MACHINES)
def test_configuration_space_agrees_with_attributes(name: str) -> None:
    twin = Twin.new(name)
    for device in twin.list("sys/bus/pci/devices"):
        here = f"sys/bus/pci/devices/{device}"
        config = twin.read(f"{here}/config")
        assert len(config) in (256, 4096)
        assert config[9:12][::-1].hex() == text(twin, f"{here}/class")[2:]
        if "physfn" not in twin.list(here):
            assert config[1::-1].hex() == text(twin, f"{here}/vendor")[2:]
            assert config[3:1:-1].hex() == text(twin, f"{here}/device")[2:]
        if config[14] & 0x7F == 1:
            assert str(config[0x19]) == text(twin, f"{here}/secondary_bus_number")
            assert str(config[0x1A]) == text(twin, f"{here}/subordinate_bus_number")


@pytest.mark.parametrize("name", MACHINES)
def test_ranges_nest_and_never_overlap(name: str) -> None:
    twin = Twin.new(name)
    hardware = twin.kernel.hardware
    spaces: dict[int, list[tuple[int, int]]] = {}
    for (address, _), place in hardware.placement.bars.items():
        behind = address.domain if address.domain >= 0x10000 else 0
        spaces.setdefault(behind, []).append((place.system, place.system + place.size))
    for taken in spaces.values():
        for (_, end), (start, _) in pairwise(sorted(taken)):
            assert end <= start
    for function in hardware.functions.values():
        device = hardware.real_requester(function)
        for _, first, last in hardware.bars(function):
            if device is not function:
                assert hardware.passes(device, first), function.address
                assert hardware.passes(device, last), function.address
            parent = hardware.parent(function)
            while parent is not None:
                assert any(low <= first and last <= high for low, high in forwarded(parent, io=False)), function.address
                parent = hardware.parent(parent)


def test_resource_lines_are_system_addresses() -> None:
    twin = Twin.new("ac922-4gpu")
    lines = text(twin, sysfs(GPU, "resource")).splitlines()
    assert len(lines) == 13
    start, end, flags = (int(word, 16) for word in lines[0].split())
    assert end - start + 1 == 16 << 20
    assert start > 0x600C000000000
    assert int.from_bytes(twin.read(sysfs(GPU, "config"), offset=0x10, size=4), "little") >= 0x80000000
    assert flags == 0x40200
    port = text(twin, sysfs(at("0004:02:0a.0"), "resource")).splitlines()
    assert len(port) == 17
    low, high, _ = (int(word, 16) for word in port[14].split())
    assert low <= start
    assert end <= high


def test_errors_are_the_kernel_s() -> None:
    twin = Twin.new("ac922-4gpu")
    cases: list[tuple[Callable[[], object], int]] = [
        (lambda: twin.read("sys/nothing"), errno.ENOENT),
        (lambda: twin.read("sys/bus"), errno.EISDIR),
        (lambda: twin.list("proc/version"), errno.ENOTDIR),
        (lambda: twin.read("proc/version/x"), errno.ENOTDIR),
        (lambda: twin.readlink("proc/version"), errno.EINVAL),
        (lambda: twin.read(sysfs(GPU, "remove")), errno.EACCES),
        (lambda: twin.write(sysfs(GPU, "vendor"), b"1"), errno.EACCES),
        (lambda: twin.write("etc/passwd", b"x"), errno.ENOENT),
        (lambda: twin.write(sysfs(GPU, "reset"), b"2"), errno.EINVAL),
        (lambda: twin.write(sysfs(GPU, "reset_method"), b"flr"), errno.EINVAL),
        (lambda: twin.write(sysfs(GPU, "enable"), b"1"), errno.EBUSY),
        (lambda: twin.write(sysfs(GPU, "config"), b"1234", offset=4094), errno.EFBIG),
        (lambda: twin.write("sys/bus/pci/drivers/vfio-pci/bind", str(GPU).encode()), errno.ENODEV),
        (lambda: twin.write("sys/bus/pci/drivers/nouveau/bind", str(GPU).encode()), errno.EBUSY),
        (lambda: twin.write("sys/bus/pci/drivers/vfio-pci/unbind", str(GPU).encode()), errno.ENODEV),
        (lambda: twin.write("sys/bus/pci/drivers_probe", b"0004:7f:00.0"), errno.ENODEV),
        (lambda: twin.write("sys/kernel/iommu_groups/0/type", b"identity"), errno.EINVAL),
        (lambda: twin.reset(GPU, "flr"), errno.ENOTTY),
        (lambda: twin.reset(GPU, "prayer"), errno.EINVAL),
        (lambda: twin.reset(GPU, "subordinate"), errno.ENOTTY),
        (lambda: twin.reset(at("0004:01:00.0"), "bus"), errno.ENOTTY),
        (lambda: twin.peek(GPU, "config", 2), errno.EINVAL),
        (lambda: twin.peek(GPU, "bar0", 16 << 20), errno.EINVAL),
        (lambda: twin.poke(GPU, "bar0", 0, 1 << 32), errno.EINVAL),
    ]
    for case, code in cases:
        with pytest.raises(OSError, match=r".") as caught:
            case()
        assert caught.value.errno == code


def test_parent_folders_stop_at_the_root() -> None:
    twin = Twin.new("ac922-4gpu")
    assert twin.list("../../proc") == twin.list("proc")
    assert twin.read("sys/bus/pci/devices/0004:04:00.0/../secondary_bus_number") == b"4\n"


def test_features_come_with_their_release() -> None:
    old, new = Twin.new("ac922-4gpu", kernel="5.4"), Twin.new("ac922-4gpu")
    switch = at("0004:01:00.0")
    for path in (sysfs(GPU, "reset_method"), sysfs(GPU, "power_state"), sysfs(switch, "reset_subordinate")):
        folder, name = path.rsplit("/", 1)
        assert name in new.list(folder)
        assert name not in old.list(folder)
    assert "type" not in old.list("sys/kernel/iommu_groups/0")
    assert text(new, "sys/kernel/iommu_groups/0/type") == "unknown"
    assert "reset_subordinate" in Twin.new("dgx1v", kernel="6.1").list("sys/bus/pci/devices/0000:03:00.0"), "backported"
    assert text(Twin.new("dgx1v"), "sys/kernel/iommu_groups/0/type") == "identity"
    assert text(Twin.new("pcie-box"), "sys/kernel/iommu_groups/0/type") == "DMA-FQ"


def test_unknown_names_and_kernels() -> None:
    for name, kernel in (("deep-thought", None), ("ac922-4gpu", "6.1"), ("dgx1v", "5.4")):
        with pytest.raises(TwinError) as caught:
            Twin.new(name, kernel=kernel)
        assert "one of" in caught.value.hint
    with pytest.raises(TwinError, match="no such event"):
        Twin.new("pcie-box").event("meteor")


def test_own_files_can_be_made_and_grow() -> None:
    twin = Twin.new("ac922-4gpu")
    twin.write("var/lib/atoll/journal/1.json", b"abc")
    twin.write("var/lib/atoll/journal/1.json", b"def", offset=3)
    twin.write("run/atoll/lock", b"1")
    assert twin.read("var/lib/atoll/journal/1.json") == b"abcdef"
    assert twin.list("var/lib/atoll/journal") == ("1.json",)
    twin.write("var/lib/atoll/journal/1.json", b"x")
    assert twin.read("var/lib/atoll/journal/1.json") == b"x"
    for path in ("var/lib/atoll/journal", "var/lib/atoll/journal/1.json/below"):
        with pytest.raises(OSError, match=r"directory"):
            twin.write(path, b"x")
    with pytest.raises(FileNotFoundError):
        twin.write("var/lib/atoll/../../../etc/passwd", b"x")


# -- drivers


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


# -- remove, rescan and groups


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


# -- what the host needs, and what tells links


@pytest.mark.parametrize(
    ("name", "disk", "network"),
    [
        ("ac922-4gpu", "0004:03:00.0", "0030:01:00.0"),
        ("dgx1v", "0000:02:00.0", "0000:01:00.0"),
        ("pcie-box", "0000:0d:00.0", "0000:0e:00.0"),
    ],
)
def test_host_s_own_devices_can_be_found(name: str, disk: str, network: str) -> None:
    twin = Twin.new(name)
    mount = next(line.split() for line in text(twin, "proc/self/mountinfo").splitlines() if line.split()[4] == "/")
    assert f"/{disk}/" in twin.readlink(f"sys/dev/block/{mount[2]}")
    assert text(twin, "proc/mounts").startswith(f"{mount[-2]} / ")
    route = next(line.split() for line in text(twin, "proc/net/route").splitlines() if line.split()[1] == "00000000")
    assert twin.readlink(f"sys/class/net/{route[0]}/device").endswith(network)


def test_device_tree_tells_links_and_the_machine_without_it_does_not() -> None:
    told, untold = Twin.new("ac922-4gpu"), Twin.new("ac922-4gpu", links=False)
    node = sysfs(GPU, "of_node")
    assert b"ibm,witherspoon\0" in told.read("proc/device-tree/compatible")
    peers = told.read(f"{node}/ibm,nvlink-peers")
    handles = [peers[n : n + 4] for n in range(0, len(peers), 4)]
    neighbour = told.read(sysfs(at("0004:05:00.0"), "of_node/phandle"))
    assert [handle == neighbour for handle in handles] == [True, False] * 3
    assert told.read(f"{node}/ibm,npu") == b"".join(handles[1::2])
    assert int.from_bytes(told.read(f"{node}/reg")[:4], "big") == 0x0400 << 8
    for name in ("ibm,nvlink-peers", "ibm,npu"):
        assert name not in untold.list(node)
    assert untold.attack(GPU, at("0004:05:00.0")) == told.attack(GPU, at("0004:05:00.0"))


def test_nvlink_record_is_the_mesh() -> None:
    twin = Twin.new("dgx1v")
    ends: dict[tuple[str, str], tuple[str, str]] = {}
    buses = dict(line.split(", ")[:2] for line in text(twin, "records/nvidia-smi-query-gpu.csv").splitlines()[1:])
    gpu = ""
    for line in text(twin, "records/nvidia-smi-nvlink-R.txt").splitlines():
        if line.startswith("GPU "):
            gpu = buses[line.split(":")[0].removeprefix("GPU ")]
        else:
            words = line.replace(": Link", "").replace(":", " ", 1).split()
            ends[gpu, words[1]] = (words[-2], words[-1])
    assert len(ends) == 48
    assert all(ends[far] == near for near, far in ends.items())
    first = [far for (near, _), (far, _) in sorted(ends.items()) if near == buses["0"]]
    assert [first.count(buses[str(n)]) for n in range(8)] == [0, 1, 1, 2, 2, 0, 0, 0]
    assert set(Twin.new("dgx1v", links=False).list("records")) == {"root-complex.json"}


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
