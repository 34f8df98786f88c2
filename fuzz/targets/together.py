"""Several records of one machine: functions with texts of links, and what two that show the same functions agree on.

The input is a few records with two bytes between one and the next. Texts of links come here with the functions and with
the names that they need to be believed; alone, in the target ``links``, most of them tell nothing.
"""

from __future__ import annotations

import json
import lzma
from collections.abc import Iterator

from atoll.errors import InputError
from atoll.host.records.content import Record, read_record
from atoll.host.together import read_together
from fuzz.target import DATA, Target
from fuzz.targets.records import answer
from fuzz.targets.seeds import nvml_record

__all__ = ["TOGETHER"]

_BETWEEN = b"\0\xff"
_MOST = 4


def _together(data: bytes) -> None:
    records: list[Record] = []
    refused: InputError | None = None
    for number, part in enumerate(data.split(_BETWEEN)[:_MOST]):
        try:
            records.append(read_record(part, name=f"record {number}"))
        except InputError as error:
            refused = error
    if not records:
        raise refused or InputError("no records")
    answer(read_together(records), data)


_ADDRESSES = ("07:00.0", "0f:00.0")
_NVIDIA = b"".join(
    f"{place} 3D controller [0302]: NVIDIA Corporation GA100 [A100 SXM4 40GB] [10de:20b0]\n".encode()
    for place in _ADDRESSES
)
_AMD = b"".join(
    f"{place} Processing accelerators [1200]: Advanced Micro Devices, Inc. [AMD/ATI] [1002:740f]\n".encode()
    for place in _ADDRESSES
)
_REMOTE = b"".join(
    f"GPU {here}: NVIDIA A100-SXM4-40GB (UUID: GPU-{here}a3c3d8e-0d5c-9b0e-3c4f-0a1b2c3d4e5f)\n".encode()
    + b"".join(
        f"\t Link {link}: Remote Device 00000000:{_ADDRESSES[1 - here].upper()}: Link {link}\n".encode()
        for link in range(12)
    )
    for here in (0, 1)
)
_STATUS = b"".join(
    f"GPU {here}: NVIDIA A100-SXM4-40GB (UUID: GPU-{here}a3c3d8e-0d5c-9b0e-3c4f-0a1b2c3d4e5f)\n".encode()
    + b"".join(f"\t Link {link}: 25 GB/s\n".encode() for link in range(12))
    for here in (0, 1)
)
_QUERY = b"index, pci.bus_id, uuid\n" + b"".join(
    f"{here}, 00000000:{_ADDRESSES[here].upper()}, GPU-{here}a3c3d8e-0d5c-9b0e-3c4f-0a1b2c3d4e5f\n".encode()
    for here in (0, 1)
)
_LIST = b"".join(
    f"GPU {here}: NVIDIA A100-SXM4-40GB (UUID: GPU-{here}a3c3d8e-0d5c-9b0e-3c4f-0a1b2c3d4e5f)\n"
    f"  MIG 3g.20gb     Device  0: (UUID: MIG-{here}4c1e3f2-6c0b-5d8a-9f3e-1a2b3c4d5e6f)\n".encode()
    for here in (0, 1)
)
_MATRIX = (
    b"\tGPU0\tGPU1\tNIC0\tCPU Affinity\tNUMA Affinity\nGPU0\t X \tNV12\tPXB\t0-31\t0\nGPU1\tNV12\t X \tSYS\t0-31\t0\n"
    b"NIC0\tPXB\tSYS\t X \n\nLegend:\n\n  X    = Self\n\nNIC Legend:\n\n  NIC0: mlx5_0\n"
)
_SMI_LOG = b"".join(
    f"GPU 00000000:{place.upper()}\n    Product Name : NVIDIA A100-SXM4-40GB\n    GPU UUID : GPU-{here}a3c3d8e\n"
    "    MIG Mode\n        Current : Disabled\n    Fabric\n        State : Completed\n        CliqueId : 1\n"
    f"        ClusterUUID : 00000000-0000-0000-0000-000000000000\n    PCI\n        Bus Id : 00000000:{place}\n".encode()
    for here, place in enumerate(_ADDRESSES)
)
_AMD_JSON = json.dumps(
    [
        {
            "gpu": here,
            "bdf": f"0000:{_ADDRESSES[here]}",
            "links": [
                {
                    "gpu": there,
                    "bdf": f"0000:{_ADDRESSES[there]}",
                    "weight": 15,
                    "link_type": "SELF" if here == there else "XGMI",
                    "num_hops": 1,
                    "bandwidth": "50000-100000",
                }
                for there in (0, 1)
            ],
        }
        for here in (0, 1)
    ]
).encode()
_AMD_TABLES = (
    b"LINK TYPE TABLE:\n             0000:07:00.0 0000:0f:00.0\n0000:07:00.0 SELF         XGMI\n"
    b"0000:0f:00.0 XGMI         SELF\n\nBW TABLE:\n             0000:07:00.0 0000:0f:00.0\n"
    b"0000:07:00.0 N/A          50000-100000\n0000:0f:00.0 50000-100000 N/A\n"
)
_HIVES = b"".join(
    f"[   12.00{here}] amdgpu 0000:{place}: amdgpu: XGMI: Add node {here}, hive 0x25bbae7e3fd04cf4.\n".encode()
    for here, place in enumerate(_ADDRESSES)
)
_KFD = b"".join(
    f"/sys/class/kfd/kfd/topology/nodes/{node}/{line}\n".encode()
    for node, location, other in ((1, 0x700, 2), (2, 0xF00, 1))
    for line in (
        *("properties:cpu_cores_count 0", "properties:vendor_id 4098", "properties:device_id 29711"),
        *(f"properties:location_id {location}", "properties:domain 0", f"properties:unique_id {node}"),
        *("properties:hive_id 77", "io_links/0/properties:type 11", f"io_links/0/properties:node_to {other}"),
        *("io_links/0/properties:weight 15", "io_links/0/properties:max_bandwidth 50000"),
    )
)
_HWLOC = (
    b"<topology version='2.0'><object type='Machine' gp_index='1'>"
    + b"".join(
        f"<object type='PCIDev' gp_index='{here + 2}' pci_busid='0000:{place}' pci_type='1200 [1002:740f] [1002:0c34]"
        f" 01'><object type='OSDev' gp_index='{here + 8}' name='rsmi{here}' subtype='RSMI' osdev_type='5'>"
        "<info name='XGMIHiveID' value='77'/></object></object>".encode()
        for here, place in enumerate(_ADDRESSES)
    )
    + b"</object>"
    + b"".join(
        b"<distances2 name='" + name + b"' type='OSDev' nbobjs='2' kind='1028' indexing='gp'><indexes length='4'>8 9 "
        b"</indexes><u64values length='8'>" + values + b"</u64values></distances2>"
        for name, values in ((b"XGMIHops", b"0 1 1 0 "), (b"XGMIBandwidth", b"0 50000 50000 0 "))
    )
    + b"</topology>"
)
_MACHINE_FORM = (
    b"Slot:\t07:00.0\nClass:\t3D controller [0302]\nVendor:\tNVIDIA Corporation [10de]\nDevice:\tGA100 [20b0]\n"
    b"Rev:\ta1\nDriver:\tnvidia\nNUMANode:\t0\nIOMMUGroup:\t12\n\n"
    b'0f:00.0 "3D controller [0302]" "NVIDIA Corporation [10de]" "GA100 [20b0]" -ra1 "NVIDIA [10de]" "Device [144e]"\n'
)
_GROUPS = (
    b'{"iommu_groups": {"12": ["0000:07:00.0"], "13": [{"address": "0000:0f:00.0", "id": "10de:20b0"}]}}',
    b'[{"group": 12, "devices": ["0000:07:00.0", "0000:0f:00.0"]}]',
)


def _seeds() -> Iterator[bytes]:
    of_nvidia = (_REMOTE, _STATUS, _QUERY, _LIST, _MATRIX, _SMI_LOG, nvml_record())
    yield from (_BETWEEN.join((_NVIDIA, text, _QUERY)) for text in of_nvidia)
    yield _BETWEEN.join((_NVIDIA, _REMOTE, _STATUS, _QUERY))
    yield _BETWEEN.join((_NVIDIA, nvml_record(), _MATRIX, _SMI_LOG))
    of_amd = (_AMD_JSON, _AMD_TABLES, _HIVES, _KFD, _HWLOC)
    yield from (_BETWEEN.join((_AMD, text)) for text in of_amd)
    yield _BETWEEN.join((_AMD, _AMD_JSON, _KFD, _HIVES))
    yield _KFD
    yield _BETWEEN.join((_NVIDIA, _MACHINE_FORM))
    yield from (
        _BETWEEN.join((_NVIDIA, groups, b"IOMMU Group 12 07:00.0\nIOMMU Group 12 0f:00.0\n")) for groups in _GROUPS
    )
    for path in sorted((DATA / "records" / "lspci-of-captures").glob("*.xz"))[:6]:
        blocks = [block for block in lzma.decompress(path.read_bytes()).split(b"\n\n") if len(block) < 1 << 12]
        some = b"\n\n".join(blocks[:3])
        yield _BETWEEN.join((some + b"\n", b"\n".join(line for line in some.splitlines() if b"Capab" not in line)))


_WORDS = (
    *(_BETWEEN, b"GPU 1: ", b"\t Link 3: Remote Device 00000000:07:00.0: Link 4\n", b"<inactive>", b'"XGMI"', b"NV12"),
    *(
        b"IOMMU Group 1 ",
        b'"iommu_group": 1',
        b"hive 0x1.",
        b"node_to 9",
        b"99999999999999999999",
        b"Kernel driver in use: x",
    ),
)

TOGETHER = (Target("together", _together, _seeds, _WORDS, longest=1 << 14),)
