"""The machine around the functions: kernel, platform, interrupts, holders, registers, routing, essential devices."""

from __future__ import annotations

import errno
import json

import pytest

from atoll.errors import InputError
from atoll.host import read_host
from atoll.host.fact import Fact, Known, Unknown, value_of
from atoll.host.model import Holder, Host, KernelRelease, Platform, Register, RootRouting
from atoll.host.trees.memory import FolderEntry
from atoll.pci.address import Address
from host.handmade import Link, Refusing, function_files, tree_of

Files = dict[str, str | bytes]
GPU = "0000:01:00.0"
A = Address.parse
FOLDER = f"sys/devices/pci0000:01/{GPU}"
MASK = Register(0, 0xA00148)


def read(files: Files) -> Host:
    return read_host(tree_of({**function_files(GPU), **files}))


@pytest.mark.parametrize(
    ("files", "release"),
    [
        ({"proc/sys/kernel/osrelease": "6.12.9-amd64\n"}, KernelRelease(6, 12, "6.12.9-amd64")),
        ({"proc/version": "Linux version 5.4.0-42 (x@y)\n"}, KernelRelease(5, 4, "5.4.0-42")),
        ({"proc/version": "Linux version 7.3+ (x@y)\n"}, KernelRelease(7, 3, "7.3+")),
    ],
)
def test_releases(files: Files, release: KernelRelease) -> None:
    kernel = read(files).kernel
    assert isinstance(kernel, Known)
    assert (kernel.value, kernel.value.text) == (release, release.text)


@pytest.mark.parametrize("text", ["", "Linux", "Linux version x.y", "Windows version 6.1", "Linux version 6.x"])
def test_no_release(text: str) -> None:
    assert isinstance(read({"proc/version": text}).kernel, Unknown)


@pytest.mark.parametrize(
    ("files", "platform"),
    [
        ({"sys/class/iommu/dmar0/intel-iommu/cap": "1"}, Platform.X86),
        ({"sys/class/iommu/smmu3.0x9050000/x": ""}, Platform.ARM),
        ({"proc/cpuinfo": "processor : 0\nCPU implementer : 0x41\n"}, Platform.ARM),
        ({"proc/cpuinfo": "vendor_id : GenuineIntel\nflags : fpu\n"}, Platform.X86),
        ({"proc/cpuinfo": "cpu : POWER9\nplatform : PowerNV\n"}, Platform.POWERNV),
        ({"proc/cpuinfo": "cpu : POWER9\nplatform : pSeries\n"}, Platform.OTHER),
        ({"proc/version": "Linux version 6.1.0-9-arm64 (x)"}, Platform.ARM),
        ({"proc/device-tree/compatible": b"ibm,powernv\0"}, Platform.POWERNV),
        ({"proc/device-tree/compatible": b"linux,dummy-virt\0"}, Platform.OTHER),
        ({}, Platform.UNKNOWN),
    ],
)
def test_platforms(files: Files, platform: Platform) -> None:
    assert read(files).platform is platform


@pytest.mark.parametrize(("flags", "virtual"), [("fpu hypervisor vme", True), ("fpu hypervisors", False)])
def test_virtual_machines(flags: str, virtual: bool) -> None:
    one = f"vendor_id : GenuineIntel\nflags\t\t: {flags}\nbugs : hypervisor\n\n"
    assert read({"proc/cpuinfo": one * 300}).virtual is virtual
    assert not read({}).virtual


@pytest.mark.parametrize(
    ("older", "newer", "aborts"),
    [("Y", None, True), ("N", "Y", False), (None, "N", False), ("x", "Y", None), (None, None, None)],
)
def test_what_the_smmu_was_told_to_do_with_ids_of_nobody(
    older: str | None, newer: str | None, aborts: bool | None
) -> None:
    told = {"arm_smmu": older, "arm_smmu_v3": newer}
    files: Files = {f"sys/module/{name}/parameters/disable_bypass": f"{of}\n" for name, of in told.items() if of}
    assert value_of(read(files).smmu_aborts, None) is aborts


X86: Files = {"proc/cpuinfo": "vendor_id : x\nflags : y\n", "sys/class/iommu/dmar0/intel-iommu/cap": "1"}


@pytest.mark.parametrize(
    ("files", "remapped"),
    [
        ({"proc/interrupts": " 24: 0 IR-PCI-MSI-0000:00:1f.2 0-edge ahci\n"}, True),
        ({"sys/kernel/irq/24/chip_name": "IR-IO-APIC\n"}, True),
        ({"proc/interrupts": "0: 1 IR-IO-APIC 2-edge timer\n24: 0 PCI-MSI-0000:01:00.0 0-edge x\n"}, None),
        ({"proc/interrupts": "0: 1 IR-PCI-MSI 2-edge x\n25: 0 PCI-MSI 4096-edge AMD-Vi\n"}, True),
        ({"proc/interrupts": " 1: 9 IO-APIC 1-edge i8042\n"}, False),
        ({"proc/cmdline": "quiet intremap=off"}, False),
        ({"proc/cmdline": "nointremap"}, False),
        ({"proc/cmdline": "intremap=off", "proc/interrupts": "24: 0 IR-PCI-MSI 0-edge x\n"}, None),
        ({"proc/cmdline": "intremap=no_x2apic_optout,off"}, False),
        ({"proc/cmdline": "intremap=nosid", "proc/interrupts": "24: 0 IR-PCI-MSI 0-edge x\n"}, False),
        ({"proc/cmdline": '"intremap=nosid"', "proc/interrupts": "24: 0 IR-PCI-MSI 0-edge x\n"}, False),
        ({"proc/cmdline": 'intremap="nosid,on"', "proc/interrupts": "24: 0 IR-PCI-MSI 0-edge x\n"}, False),
        ({"proc/cmdline": "intremap=off intremap=on", "proc/interrupts": "24: 0 IR-PCI-MSI 0-edge x\n"}, True),
        ({"proc/cmdline": "intremap=on,off", "proc/interrupts": "24: 0 IR-PCI-MSI 0-edge x\n"}, None),
        ({"proc/cmdline": "intremap=on", "proc/interrupts": "24: 0 IR-PCI-MSI 0-edge x\n"}, True),
        ({"proc/interrupts": "NMI: 0 Non-maskable\n"}, None),
        ({}, None),
    ],
)
def test_interrupt_remapping(files: Files, remapped: bool | None) -> None:
    assert value_of(read({**X86, **files}).interrupt_remapping, None) is remapped


@pytest.mark.parametrize(
    ("chips", "compatible", "remapped"),
    [
        ("ITS-PCI-MSI-0000:01:00.0 ITS-pMSI GICv3", "", True),
        ("ITS-PCI-MSIX-0000:01:00.0", "nvidia,thing", True),
        ("ITS-MSI GICv3", "", True),
        ("ITS-MSI GICv3", "socionext,developer-box", None),
        ("ITS-pMSI GICv3", "", None),
        ("ITS-MSI GICv2m-PCI-MSI-0001:01:00.0", "", None),
        ("ITS-MSI MSI", "", None),
        ("GICv2m-PCI-MSIX-0000:00:01.0 GIC-0", "", False),
        ("MSI GIC-0", "", None),
        ("MBI-PCI-MSI-0000:01:00.0", "", None),
        ("GICv3", "", None),
    ],
)
def test_interrupts_on_arm(chips: str, compatible: str, remapped: bool | None) -> None:
    lines = "".join(f" {n}: 0 0 {chip} {n} Edge x\n" for n, chip in enumerate(chips.split(), 24))
    files: Files = {"sys/class/iommu/smmu3.0x9050000/x": "", "proc/device-tree/compatible": f"{compatible}\0"}
    assert value_of(read({**files, "proc/interrupts": lines}).interrupt_remapping, None) is remapped
    assert value_of(read(files).interrupt_remapping, None) is None


def test_no_iommu_remaps_no_interrupts() -> None:
    files: Files = {"proc/cpuinfo": X86["proc/cpuinfo"], "sys/kernel/uevent_seqnum": "1"}
    assert value_of(read(files).interrupt_remapping, None) is None, "the IOMMUs may not have been captured"
    tree = tree_of({**function_files(GPU), **files})
    tree.add("sys/class/iommu", FolderEntry())
    assert value_of(read_host(tree).interrupt_remapping, None) is False


PROCESSES: Files = {
    "proc/1/fd/0": Link("/dev/null"),
    "proc/42/comm": "qemu-system-x86\n",
    "proc/42/fd/7": Link("/dev/vfio/12"),
    "proc/42/fd/8": Link("/dev/vfio/vfio"),
    "proc/42/fd/9": Link("/dev/vfio/noiommu-3"),
    "proc/43/comm": "vmm\n",
    "proc/43/fd/5": Link("/dev/vfio/devices/vfio4"),
    "proc/43/fd/6": Link("/dev/iommu"),
    "proc/44/comm": "vmm\n",
    "proc/44/fd/5": Link("/dev/vfio/devices/vfio4"),
    "proc/44/fd/6": Link("/dev/iommu"),
    "proc/44/fd/7": Link("/dev/vfio/devices/vfio9 (deleted)"),
    "sys/class/vfio-dev/vfio4": Link(f"../../devices/pci0000:01/{GPU}/vfio-dev/vfio4"),
}


def test_holders() -> None:
    holders = read(PROCESSES).holders
    assert isinstance(holders, Known)
    assert holders.value == (
        Holder(42, "qemu-system-x86", (3, 12), (), Known(1, "proc/42/fd")),
        Holder(43, "vmm", (), (A(GPU),), Known(1, "proc/43/fd")),
        Holder(44, "vmm", (), (A(GPU),), Known(1, "proc/44/fd"), nameless=True),
    )
    assert [holder.uncertain for holder in holders.value] == [False, False, True]


def test_who_has_a_mediated_device_open_does_not_hold_the_function_that_it_is_a_part_of() -> None:
    """The driver of that function maps for it as before, one to one perhaps; what is open is known, and none of PCI."""
    part = "0f3a1c58-2c5e-4b1c-9a50-2d6f3c5e8b11"
    below = {"sys/class/vfio-dev/vfio4": Link(f"../../devices/pci0000:01/{GPU}/{part}/vfio-dev/vfio4")}
    host = read({**PROCESSES, **below})
    assert isinstance(host.holders, Known)
    assert host.holders.value[1] == Holder(43, "vmm", (), (), Known(1, "proc/43/fd"))
    assert host.vfio_devices == frozenset()
    assert read(PROCESSES).vfio_devices == {A(GPU)}


@pytest.mark.parametrize(
    ("status", "root"),
    [
        ("Name:\tvmm\nUid:\t0\t0\t0\t0\n", True),
        ("Name:\tvmm\nUid:\t1000\t0\t0\t0\n", False),
        ("Name:\tUid:\nUid:\t1000\t1000\t1000\t1000\n", False),
        ("Name:\tvmm\n", None),
        (None, None),
    ],
)
def test_whether_a_holder_is_root(status: str | None, root: bool | None) -> None:
    holders = read({**PROCESSES, **({"proc/43/status": status} if status is not None else {})}).holders
    assert isinstance(holders, Known)
    assert [holder.root for holder in holders.value] == [None, root, None]


def test_holders_that_may_be_hidden() -> None:
    tree = tree_of({**function_files(GPU), **PROCESSES})
    hidden = read_host(Refusing(tree, "proc/43/fd"))
    assert isinstance(hidden.holders, Unknown)
    assert "run as root" in hidden.holders.reason
    assert any(gap.what == "who holds devices" for gap in hidden.gaps)
    without_first = read({k: v for k, v in PROCESSES.items() if not k.startswith("proc/1/")})
    assert isinstance(without_first.holders, Unknown)
    assert isinstance(read({"proc/version": "x"}).holders, Unknown)


def test_a_container_shows_its_own_processes_only() -> None:
    host = read({**PROCESSES, "proc/1/ns/pid": Link("pid:[4026532198]")})
    assert isinstance(host.holders, Unknown)
    assert "outside of this container" in host.holders.reason
    assert any(gap.what == "who holds devices" and "PID namespace" in gap.why for gap in host.gaps)
    assert isinstance(read({**PROCESSES, "proc/1/ns/pid": Link("pid:[4026531836]")}).holders, Known)


@pytest.mark.parametrize(("number", "seen"), [(errno.EACCES, False), (errno.EPERM, False), (errno.ENOENT, True)])
def test_what_is_listed_and_leads_nowhere_that_is_seen_may_be_a_device(number: int, seen: bool) -> None:
    """Root without CAP_SYS_PTRACE lists descriptors of others and does not see what they are; or one was closed."""
    tree = tree_of({**function_files(GPU), **PROCESSES})
    host = read_host(Refusing(tree, "proc/43/fd/5", number=number))
    assert isinstance(host.holders, Known) is seen
    if isinstance(host.holders, Unknown):
        assert "CAP_SYS_PTRACE" in host.holders.reason


def wanted(vendor: int, device: int) -> tuple[Register, ...]:
    return (MASK,) if (vendor, device) == (0x10DE, 0x1DB1) else ()


def mask_of(files: Files, *refused: str) -> Fact[int]:
    tree = tree_of({**function_files(GPU), **function_files("0000:02:00.0", device=0x20B0), **files})
    host = read_host(Refusing(tree, *refused), registers=wanted)
    assert list(host.registers) == [(A(GPU), MASK)]
    return host.registers[A(GPU), MASK]


def bar(value: bytes) -> Files:
    return {f"{FOLDER}/resource0": bytes(0xA00148) + value}


def test_registers() -> None:
    assert mask_of(bar(b"\x00\x00\x15\x00")) == Known(0x150000, f"{FOLDER}/resource0+0xa00148")
    assert read(bar(bytes(4))).registers == {}


@pytest.mark.parametrize(
    ("files", "reason"),
    [
        (bar(b"\xff" * 4), "all ones"),
        (bar(b"\x00"), "not captured up to"),
        ({}, "not captured"),
        (bar(bytes(4)) | {f"{FOLDER}/power_state": "D3hot"}, "D3hot"),
        (bar(bytes(4)) | {f"{FOLDER}/config": b"\xde\x10\xb1\x1d" + bytes(60)}, "memory decoding is off"),
        (bar(bytes(4)) | {f"{FOLDER}/config": bytes(64)}, "all zeros"),
        (bar(bytes(4)) | {f"{FOLDER}/config": b""}, "not known"),
    ],
)
def test_registers_that_tell_nothing(files: Files, reason: str) -> None:
    found = mask_of(files)
    assert isinstance(found, Unknown)
    assert reason in found.reason


def test_registers_that_may_not_be_read() -> None:
    found = mask_of(bar(bytes(4)), f"{FOLDER}/resource0")
    assert isinstance(found, Unknown)
    assert "root" in found.reason


ROUTING = {"schema": "atoll.root-complex/1", "source": "board manual", "host_bridges": {"pci0000:01": "direct"}}


def test_root_routing() -> None:
    routing = read({"records/root-complex.json": json.dumps(ROUTING)}).root_routing
    assert routing == {"pci0000:01": Known(RootRouting.DIRECT, "records/root-complex.json: board manual")}
    assert read({}).root_routing == {}


@pytest.mark.parametrize(
    "damage",
    [
        "",
        "[]",
        "{",
        "[" * 100_000,
        json.dumps(ROUTING | {"schema": "atoll.root-complex/2"}),
        json.dumps(ROUTING | {"source": " "}),
        json.dumps(ROUTING | {"host_bridges": []}),
        json.dumps(ROUTING | {"host_bridges": {"pci0000:01": "isolated"}}),
        json.dumps(ROUTING | {"host_bridges": {"pci0000:01": ["direct"]}}),
    ],
)
def test_damaged_root_routing(damage: str) -> None:
    with pytest.raises(InputError, match=r"root-complex\.json"):
        read({"records/root-complex.json": damage})


NVME, NIC = "0000:02:00.0", "0000:03:00.0"
CARRIERS: Files = {
    **function_files(NVME, kind=0x010802),
    **function_files(NIC, kind=0x020000),
    "sys/dev/block/253:0": Link("../../devices/virtual/block/dm-0"),
    "sys/devices/virtual/block/dm-0/slaves/nvme0n1p2": Link(
        f"../../../../pci0000:02/{NVME}/nvme/nvme0/nvme0n1/nvme0n1p2"
    ),
    "sys/class/block/nvme0n1p3": Link(f"../../devices/pci0000:02/{NVME}/nvme/nvme0/nvme0n1/nvme0n1p3"),
    "sys/class/net/br0": Link("../../devices/virtual/net/br0"),
    "sys/devices/virtual/net/br0/lower_eth0": Link(f"../../../pci0000:03/{NIC}/net/eth0"),
    "sys/class/net/eth1": Link(f"../../devices/pci0000:01/{GPU}/net/eth1"),
    "proc/self/mountinfo": "22 1 253:0 / / rw - ext4 /dev/mapper/root rw\n23 22 0:5 / /proc rw - proc proc rw\n",
    "proc/swaps": "Filename Type Size Used Priority\n/dev/nvme0n1p3 partition 8 0 -2\n/swapfile file 8 0 -3\n",
    "proc/net/route": "Iface Destination Gateway Flags RefCnt Use Metric Mask MTU Window IRTT\n"
    "eth1 00000000 00000000 0201 0 0 9 00000000 0 0 0\n"
    "br0 00000000 0101A8C0 0003 0 0 0 00000000 0 0 0\neth1 0001A8C0 00000000 0001 0 0 0 00FFFFFF 0 0 0\n",
}


def test_essential_devices() -> None:
    host = read(CARRIERS)
    assert host.essential == {A(NVME): "root file system, swap", A(NIC): "default route"}
    assert not any("needs" in gap.what for gap in host.gaps)


def test_default_route_of_the_newer_protocol() -> None:
    zero = "0" * 32
    lines = (
        f"{zero} 00 {zero} 00 {zero} 00000400 1 0 00000003 eth1\n{zero} 00 {zero} 00 {zero} ffffffff 1 0 00200200 lo\n"
    )
    host = read({**CARRIERS, "proc/net/ipv6_route": lines})
    assert host.essential[A(GPU)] == "default route"


def test_disks_of_mount_tables_without_numbers() -> None:
    files = {k: v for k, v in CARRIERS.items() if k != "proc/self/mountinfo"}
    host = read({**files, "proc/mounts": "/dev/nvme0n1p3 /srv xfs rw 0 0\n/dev/loop1 /snap/x squashfs ro 0 0\n"})
    assert host.essential[A(NVME)] == "mounted at /srv, swap"
    host = read({**files, "proc/mounts": "/dev/sdq1 / xfs rw 0 0\ntank /data zfs rw 0 0\n"})
    assert {"root file system: /dev/sdq1", "mounted at /data: zfs tank"} <= {gap.what for gap in host.gaps}


def test_multipath_disks() -> None:
    system = "sys/devices/virtual/nvme-subsystem/nvme-subsys0"
    files: Files = {
        **CARRIERS,
        "sys/class/block/nvme0n1p3": Link("../../devices/virtual/nvme-subsystem/nvme-subsys0/nvme0n1/nvme0n1p3"),
        f"{system}/nvme0": Link(f"../../../pci0000:01/{GPU}/nvme/nvme0"),
    }
    assert read(files).essential[A(GPU)] == "swap"


def test_stacks_that_run_in_circles() -> None:
    files = {**CARRIERS, "sys/devices/virtual/block/dm-0/slaves/dm-0": Link("../../dm-0")}
    assert A(NVME) in read(files).essential


def test_what_makes_a_needed_function_is_needed_itself() -> None:
    vmd, disk = "0000:00:0e.0", "10000:00:02.0"
    below = f"sys/devices/pci0000:00/{vmd}/pci10000:00/{disk}"
    physical, virtual = "0000:03:00.0", "0000:03:10.0"
    beside = f"sys/devices/pci0000:03/{virtual}"
    files = {
        **CARRIERS,
        **function_files(vmd, kind=0x010400, device=0x9A0B),
        **{
            path.replace("sys/devices", f"sys/devices/pci0000:00/{vmd}", 1): data
            for path, data in function_files(disk, kind=0x010802).items()
            if not path.startswith("sys/bus")
        },
        f"sys/bus/pci/devices/{disk}": Link(f"../../../{below.removeprefix('sys/')}"),
        **function_files(virtual, kind=0x020000),
        f"{beside}/physfn": Link(f"../{physical}"),
        "sys/class/block/nvme0n1p3": Link(f"../../{below.removeprefix('sys/')}/nvme/nvme0/nvme0n1/nvme0n1p3"),
        "sys/devices/virtual/net/br0/lower_eth0": Link(f"../../../pci0000:03/{virtual}/net/eth0"),
    }
    found = read(files).essential
    assert found[A(vmd)] == f"swap (behind it: {disk})"
    assert found[A(physical)] == f"default route (its virtual function: {virtual})"
    assert (found[A(disk)], found[A(virtual)]) == ("swap", "default route")


def test_the_console() -> None:
    assert read({f"{FOLDER}/boot_vga": "1\n"}).essential == {A(GPU): "console"}
    assert read({f"{FOLDER}/boot_vga": "0\n"}).essential == {}


def test_an_empty_tree_is_a_host_that_shows_nothing() -> None:
    host = read_host(tree_of({"manifest.json": "{}"}))
    assert not host.functions
    assert isinstance(host.groups, Unknown)
    assert host.platform is Platform.UNKNOWN
    assert {"PCI functions", "functions that the host itself needs"} <= {gap.what for gap in host.gaps}
