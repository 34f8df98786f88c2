"""The files of a twin: shape, errors, and what writing them does."""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Callable
from itertools import pairwise

import pytest

from atoll.twin import MACHINES, Twin, TwinError
from atoll.twin.decoding import forwarded
from twin.bench import at, sysfs, text

GPU = at("0004:04:00.0")


def is_link(twin: Twin, path: str) -> bool:
    try:
        return bool(twin.readlink(path))
    except OSError:
        return False


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
