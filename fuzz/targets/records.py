"""Files and pasted texts: whatever a stranger's record holds, and every answer about the host that it shows."""

from __future__ import annotations

import lzma
from collections.abc import Iterator
from functools import cache
from zlib import crc32

from atoll.host.links.interconnect import with_link_records
from atoll.host.model import Host
from atoll.host.records.content import read_record
from atoll.host.together import read_together
from fuzz.answers import answers
from fuzz.target import DATA, Target

__all__ = ["RECORDS", "answer"]

_ANSWERED = 32
"""Functions of a host that is reasoned about: what larger ones cost is measured elsewhere."""
_ONE_IN = 8
"""How many inputs are read for one that is also reasoned about, which takes ten times as long."""


_RARE = b"""\
0000:00:0e.0 RAID bus controller [0104]: Intel Corporation Volume Management Device [8086:467f]
\tControl: I/O+ Mem+ BusMaster+ SpecCycle- MemWINV- VGASnoop- ParErr- Stepping- SERR- FastB2B- DisINTx-
\tCapabilities: [70] Express (v2) Root Complex Integrated Endpoint, MSI 00

10000:e0:06.0 PCI bridge [0604]: Intel Corporation PCIe Controller [8086:a74d] (prog-if 00 [Normal decode])
\tBus: primary=e0, secondary=e1, subordinate=e1, sec-latency=0
\tCapabilities: [40] Express (v2) Root Port (Slot+), MSI 00

10000:e1:00.0 RAID bus controller [0104]: Intel Corporation Volume Management Device [8086:201d]
\tControl: I/O+ Mem+ BusMaster+ SpecCycle- MemWINV- VGASnoop- ParErr- Stepping- SERR- FastB2B- DisINTx-

10001:01:00.0 Non-Volatile memory controller [0108]: Samsung NVMe SSD [144d:a808] (prog-if 02 [NVM Express])

0000:00:1e.0 PCI bridge [0604]: Intel Corporation 82801 PCI Bridge [8086:244e] (prog-if 01 [Subtractive decode])
\tBus: primary=00, secondary=05, subordinate=09, sec-latency=32

0000:05:04.0 CardBus bridge [0607]: Texas Instruments PCI1510 PC card Cardbus Controller [104c:ac56]
\tBus: primary=05, secondary=06, subordinate=09, sec-latency=176

0000:07:00.0 Bridge [0680]: IBM Device [1014:04ea]

0000:08:00.0 Ethernet controller [0200]: Intel Corporation 82576 Gigabit Network Connection [8086:10c9]
\tCapabilities: [160 v1] Single Root I/O Virtualization (SR-IOV)
\t\tInitial VFs: 8, Total VFs: 8, Number of VFs: 2, Function Dependency Link: 00
\t\tVF offset: 128, stride: 2, Device ID: 10ca

0000:08:10.0 Ethernet controller [0200]: Intel Corporation 82576 Virtual Function [8086:10ca]
"""
"""Kinds of functions that few machines have."""


def answer(host: Host, data: bytes) -> None:
    """Tell everything of a host, unless it is large; of one input in eight."""
    if len(host.functions) <= _ANSWERED and crc32(data) % _ONE_IN == 0:
        answers(host)


def _record(data: bytes) -> None:
    """As ``--host FILE``: what is found out about the kind is part of what is tested."""
    record = read_record(data, name="record")
    answer(read_together((record,)), data)


@cache
def _gpus() -> Host:
    """A host with GPUs for records that tell of links only."""
    lines = []
    for bus in (0x07, 0x0F, 0x47, 0x4E, 0x87, 0x90, 0xB7, 0xBD):
        lines.append(f"{bus:02x}:00.0 3D controller [0302]: NVIDIA Corporation GA100 [A100 SXM4 40GB] [10de:20b0]")
    lines.append("03:00.0 Processing accelerators [1200]: Advanced Micro Devices, Inc. [AMD/ATI] [1002:740f]")
    lines.append("83:00.0 Processing accelerators [1200]: Advanced Micro Devices, Inc. [AMD/ATI] [1002:740f]")
    found = read_record("\n".join(lines).encode(), name="lspci").host
    assert found is not None
    return found


def _links(data: bytes) -> None:
    answer(with_link_records(_gpus(), {"record": data, "again": data}), data)


def _lspci() -> Iterator[bytes]:
    for path in sorted((DATA / "records" / "lspci-of-captures").glob("*.xz")):
        yield from _some_blocks(lzma.decompress(path.read_bytes()))
    for path in sorted((DATA / "records" / "machines").glob("*/lspci.*")):
        yield from _some_blocks(lzma.decompress(path.read_bytes()))
    tree = (
        b"-+-[0000:40]-+-00.0  Advanced Micro Devices, Inc. [AMD] Starship/Matisse Root Complex [1022:1480]\n"
        b" |           \\-01.1-[41]--+-00.0  NVIDIA Corporation GA100 [A100 SXM4 40GB] [10de:20b0]\n"
        b" |                        \\-00.1  NVIDIA Corporation Device [10de:1aef]\n"
        b" \\-[0000:00]-+-00.0\n"
        b"             +-01.0-[01-04]----00.0-[02-04]--+-04.0-[03]----00.0\n"
        b"             |                               \\-08.0-[04]--\n"
        b"             \\-1f.0\n"
    )
    yield tree
    yield _RARE
    yield tree + b"IOMMU Group 1 40:01.1\nIOMMU Group 2 41:00.0\n"


def _some_blocks(text: bytes) -> Iterator[bytes]:
    blocks = [block for block in text.split(b"\n\n") if len(block) < 1 << 12]
    for at in range(0, len(blocks), 12):
        yield b"\n\n".join(blocks[at : at + 3]) + b"\n"


def _logs() -> Iterator[bytes]:
    log = lzma.decompress((DATA / "records/machines/ecs-h310ch5-kabylake-hex/dmesg.log.xz").read_bytes())
    lines = [line for line in log.splitlines(keepends=True) if b"pci " in line or b"iommu" in line or b"DMAR" in line]
    heading = b"00:02.0 VGA compatible controller [0300]: Intel [8086:5912]\n"
    for at in range(0, min(len(lines), 400), 40):
        yield heading + b"".join([*log.splitlines(keepends=True)[:2], *lines[at : at + 40]])
    for path in sorted((DATA / "records" / "machines").glob("*/iommu_groups.txt")):
        yield heading + path.read_bytes()
    yield (
        b"IOMMU Group 1:\n\t00:01.0 PCI bridge [0604]: Intel [8086:1901] (rev 05)\n"
        b"\t01:00.0 VGA compatible controller [0300]: NVIDIA [10de:1b80] (rev a1)\n"
    )
    yield (
        b"IOMMU Group * 00:00.0 Host bridge [0600]: Intel [8086:191f]\n01:00.0 VGA: NVIDIA [10de:1b80]\n"
        b"vfio 0000:01:00.0: group 1 is not viable\n$ ls /sys/kernel/iommu_groups/6/devices/\n"
        b"0000:02:00.0 0000:02:00.1\n"
    )
    yield b"/sys/kernel/iommu_groups/1/devices/0000:00:01.0\n/sys/kernel/iommu_groups/1/devices/0000:01:00.0\n"


def _udev() -> Iterator[bytes]:
    function = (
        b"P: /devices/pci0000:00/0000:00:01.0/0000:01:00.0\nM: 0000:01:00.0\nE: DEVPATH=/devices/pci0000:00/"
        b"0000:00:01.0/0000:01:00.0\nE: SUBSYSTEM=pci\nE: DRIVER=nvidia\nE: PCI_CLASS=30200\nE: PCI_ID=10DE:20B0\n"
        b"E: PCI_SUBSYS_ID=10DE:134F\nE: PCI_SLOT_NAME=0000:01:00.0\n"
        b"E: MODALIAS=pci:v000010DEd000020B0sv000010DEsd0000134Fbc03sc02i00\n\n"
    )
    port = (
        b"P: /devices/pci0000:00/0000:00:01.0\nE: DEVPATH=/devices/pci0000:00/0000:00:01.0\nE: SUBSYSTEM=pci\n"
        b"E: DRIVER=pcieport\nE: PCI_CLASS=60400\nE: PCI_ID=8086:1901\nE: PCI_SUBSYS_ID=0000:0000\n"
        b"E: PCI_SLOT_NAME=0000:00:01.0\nE: MODALIAS=pci:v00008086d00001901sv00000000sd00000000bc06sc04i00\n\n"
    )
    group = b"P: /kernel/iommu_groups/1\nE: DEVPATH=/kernel/iommu_groups/1\nE: SUBSYSTEM=iommu_groups\n\n"
    yield port + function
    yield function + group
    yield (port + function).replace(b"E: DEVPATH", b"E: ACTION=add\nE: DEVPATH")


def _xml() -> Iterator[bytes]:
    yield (
        b"> virsh # nodedev-dumpxml pci_0000_01_00_0\n> <device>\n> <capability type='pci'>\n"
        b"> <class>0x030000</class>\n> <domain>0</domain><bus>1</bus><slot>0</slot><function>0</function>\n"
        b"> <product id='0x1b80'/>\n> <vendor id='0x10de'>A &amp; B</vendor>\n"
        b"> </capability>\n> </device>\n\n00:01.0 PCI bridge: X [8086:1901]\n"
    )
    for pattern in ("hwloc-*/*.xml", "rccl-*/*.xml", "nvidia-smi-qx-*/*.xml"):
        for path in sorted((DATA / "links").glob(pattern)):
            yield path.read_bytes()[:20000]
    yield (
        b"<device><name>pci_0000_01_00_0</name><path>/sys/devices/pci0000:00/0000:00:01.0/0000:01:00.0</path>"
        b"<parent>pci_0000_00_01_0</parent><driver><name>vfio-pci</name></driver><capability type='pci'>"
        b"<class>0x030200</class><domain>0</domain><bus>1</bus><slot>0</slot><function>0</function>"
        b"<product id='0x20b0'>A100</product><vendor id='0x10de'>NVIDIA</vendor>"
        b"<capability type='virt_functions' maxCount='2'><address domain='0x0000' bus='0x01' slot='0x00' "
        b"function='0x1'/></capability><iommuGroup number='1'><address domain='0x0000' bus='0x00' slot='0x01' "
        b"function='0x0'/><address domain='0x0000' bus='0x01' slot='0x00' function='0x0'/></iommuGroup>"
        b"<numa node='0'/><pci-express><link validity='cap' port='0' speed='16' width='16'/>"
        b"<link validity='sta' speed='16' width='16'/></pci-express></capability></device>"
    )
    yield (
        b"<topology version='2.0'><object type='Machine'><object type='Bridge' bridge_type='0-1' bridge_pci="
        b"'0000:[00-02]'><object type='PCIDev' pci_busid='0000:01:00.0' pci_type='0302 [10de:20b0] [10de:134f] a1' "
        b"pci_link_speed='31.5'><object type='OSDev' name='cuda0' subtype='CUDA' osdev_type='5'/></object></object>"
        b"</object></topology>"
    )


def _json() -> Iterator[bytes]:
    from fuzz.targets.seeds import nvml_record, rdma_dump

    yield rdma_dump()
    yield (
        b'[{"class":"0x030000","device":"0x1b80","id":"0000:01:00.0","iommugroup":1,"vendor":"0x10de"},'
        b'{"class":"0x020000","device":"0x1533","id":"0000:02:00.0","iommugroup":-1,"vendor":"0x8086"}]'
    )
    yield nvml_record()


def _texts_of_links() -> Iterator[bytes]:
    for path in sorted((DATA / "links").glob("*/*")):
        if path.name != "SOURCE.txt" and path.suffix in (".txt", ".a100", ".xml"):
            yield path.read_bytes()[:20000]
    yield (
        b"GPU 0: NVIDIA A100-SXM4-40GB (UUID: GPU-5a3c3d8e-0d5c-9b0e-3c4f-0a1b2c3d4e5f)\n"
        b"\t Link 0: Remote Device 00000000:0F:00.0: Link 0\n\t Link 1: 25.781 GB/s\n\t Link 2: <inactive>\n"
        b"GPU 1: NVIDIA A100-SXM4-40GB (UUID: GPU-6a3c3d8e-0d5c-9b0e-3c4f-0a1b2c3d4e5f)\n"
        b"\t Link 0: Remote Device 00000000:07:00.0: Link 0\n"
    )
    yield (
        b"LINK TYPE TABLE:\n 0000:03:00.0 0000:83:00.0\n0000:03:00.0 SELF XGMI\n0000:83:00.0 XGMI SELF\n\n"
        b"== Link Type between two GPUs ==\n GPU0 GPU1\nGPU0 0 XGMI\nGPU1 XGMI 0\n\nGPU[0]\t\t: PCI Bus: 0000:03:00.0\n"
    )
    yield (
        b"index, pci.bus_id, uuid\n0, 00000000:07:00.0, GPU-5a3c3d8e-0d5c-9b0e-3c4f-0a1b2c3d4e5f\n"
        b"1, 00000000:0F:00.0, GPU-6a3c3d8e-0d5c-9b0e-3c4f-0a1b2c3d4e5f\n"
    )


_LSPCI_WORDS = tuple(
    word.encode()
    for word in (
        *("00:00.0 ", "0000:01:00.1 ", "10000:e0:00.0 ", "\tCapabilities: [40] ", "\tCapabilities: [100 v1] "),
        *("Access Control Services", "\t\tACSCap:\tSrcValid+ TransBlk+ ReqRedir+ CmpltRedir+ UpstreamFwd+ EgressCtrl-"),
        *("\t\tACSCtl:\tSrcValid-", "Express (v2) Root Port (Slot+), MSI 00", "Express Endpoint", "\tIOMMU group: 1\n"),
        *("\tBus: primary=00, secondary=01, subordinate=ff, sec-latency=0", "\tNUMA node: 0", "[virtual]", "(rev 01)"),
        *("\tMemory at e0000000 (64-bit, prefetchable) [size=256M]", "Single Root I/O Virtualization (SR-IOV)"),
        *("VF offset: 2, stride: 1, Device ID: 1515", "Initial VFs: 8, Total VFs: 8, Number of VFs: 8", "[size=9999G]"),
        *(
            "Address Translation Service (ATS)",
            "\tKernel driver in use: vfio-pci",
            "-[0000:00]-+-",
            "+-01.0-[01]----00.0",
            "\n             \\-",
            "Slot:\t",
            "Class:\t",
        ),
        *("00: 86 80 01 19 07 04 10 00 00 00 04 06 00 00 81 00\n", "99999999999999999999", "0x", "[8086:1901]", "\0"),
    )
)
_XML_WORDS = tuple(
    word.encode()
    for word in (
        *("<?xml version='1.0'?>", "<!DOCTYPE x [<!ENTITY a 'b'>]>", "<system version='1'>", "<gpu dev='0' sm='80'>"),
        *("<nvlink target='0000:0f:00.0' count='4' tclass='0x030200'/>", "<xgmi target='0' count='1'/>", "pci_busid="),
        *("<iommuGroup number='1'>", "bridge_pci='0000:[00-ff]'", "<distances2 name='NVLinkBandwidth' nbobjs='2'>"),
        *("<u64values length='4'>1 2 3 4</u64values>", "99999999999999999999", "encoding='utf-7'", "&#x0;", "\xff\xfe"),
    )
)
_LINK_WORDS = (
    *(b"GPU0", b"GPU 0: ", b"\t Link 0: ", b"Remote Device 00000000:07:00.0: Link 0", b"<inactive>", b"NV12", b"NIC0"),
    *(b"\x1b[4m", b"CPU Affinity", b"index, pci.bus_id, uuid\n", b"25.781 GB/s", b"99999999999999999999", b"NV0", b"X"),
)

RECORDS = (
    Target("lspci", _record, _lspci, _LSPCI_WORDS, longest=1 << 15),
    Target(
        "groups-and-logs",
        _record,
        _logs,
        (b"IOMMU Group 0 ", b"iommu group 99999999999", b"[    0.000000] Linux version 6.1.0", b"ACPI: DMAR", b"pci "),
        longest=1 << 14,
    ),
    Target("udev", _record, _udev, (b"P: ", b"E: PCI_ID=", b"SUBSYSTEM=pci\n", b"E: IOMMU_GROUP=", b"../")),
    Target("xml", _record, _xml, _XML_WORDS, longest=1 << 15),
    Target("json", _record, _json, (b'"iommu_group": 99999999999999999999', b"1e999", b"null", b'{"schema":', b"-1")),
    Target("links", _links, _texts_of_links, (*_LINK_WORDS, *_XML_WORDS), longest=1 << 14),
)
