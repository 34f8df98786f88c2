"""A capture with everything in it that identifies a machine or its owner, and how it is redacted."""

from __future__ import annotations

import struct

from atoll.controls.registry import registers
from atoll.host import read_host
from atoll.host.capture.make import Capture, capture
from host.handmade import Link, function_files, tree_of

UUID = "3f0a1b2c-4d5e-6f70-8192-a3b4c5d6e7f8"
MAC = "a4:bf:01:5d:22:9c"
SERIAL = bytes.fromhex("9c225dff ff01bfa4".replace(" ", ""))


def with_serial(serial: bytes = SERIAL) -> bytes:
    """Configuration space of a PCI Express endpoint with a device serial number, behind another capability."""
    config = bytearray(4096)
    struct.pack_into("<HHHH", config, 0, 0x8086, 0x1572, 0x0006, 0x0010)
    config[8:12] = (0x020000 << 8).to_bytes(4, "little")
    config[0x34] = 0x40
    struct.pack_into("<BBH", config, 0x40, 0x10, 0, 0x0002)
    struct.pack_into("<I", config, 0x100, 0x0001 | 1 << 16 | 0x140 << 20)
    struct.pack_into("<I", config, 0x140, 0x0003 | 1 << 16 | 0x150 << 20)
    config[0x144:0x14C] = serial
    struct.pack_into("<I", config, 0x150, 0x000D | 1 << 16)
    config[0x200:0x208] = b"unknown!"
    return bytes(config)


NIC = "sys/devices/pci0000:01/0000:01:00.0"
FILES: dict[str, str | bytes] = {
    **function_files("0000:01:00.0", vendor=0x8086, device=0x1572, kind=0x020000, config=with_serial()),
    "sys/bus/pci/devices/0000:01:00.1": Link("../../../devices/pci0000:01/0000:01:00.1"),
    **{
        path.replace("01:00.0", "01:00.1"): data
        for path, data in function_files("0000:01:00.0", vendor=0x8086, device=0x1572, config=with_serial()).items()
        if path.startswith("sys/devices")
    },
    "sys/class/net/enxa4bf015d229c": Link(f"../../{NIC.removeprefix('sys/')}/net/enxa4bf015d229c"),
    f"{NIC}/net/enxa4bf015d229c/address": f"{MAC}\n",
    f"{NIC}/net/enxa4bf015d229c/device": Link("../../../0000:01:00.0"),
    "sys/block/dm-0": Link("../devices/virtual/block/dm-0"),
    "sys/devices/virtual/block/dm-0/dm/name": "vg--ada-my--host--root\n",
    "sys/devices/virtual/block/dm-0/slaves/nvme0n1": Link("../../../../pci0000:01/0000:01:00.1/nvme/nvme0/nvme0n1"),
    "sys/devices/pci0000:01/0000:01:00.1/nvme/nvme0/nvme0n1/dev": "259:0\n",
    "proc/sys/kernel/hostname": "my-host.example.org\n",
    "proc/sys/kernel/osrelease": "6.12.1-my-host\n",
    "proc/version": "Linux version 6.12.1-my-host (builder@my-host) x86_64 #1\n",
    "proc/cmdline": (
        f"BOOT_IMAGE=/vmlinuz root=UUID={UUID} resume=PARTUUID=abcd1234-02 intel_iommu=on iommu=pt "
        f"pci=config_acs=xx111x1@0000:00:01.0 ip=192.0.2.7::192.0.2.1 BOOTIF=01-a4-bf-01-5d-22-9c "
        "systemd.hostname=my-host rd.iscsi.password=hunter2 inst.repo=http://boot.example.org/r\n"
    ),
    "proc/1/mountinfo": (
        "22 1 253:0 / / rw,relatime shared:1 - ext4 /dev/mapper/vg--ada-my--host--root rw,errors=remount-ro\n"
        "23 22 0:21 / /home/ada/share rw - nfs4 fileserver:/export/ada rw,addr=192.0.2.9\n"
        "24 22 259:1 / /boot/efi rw - vfat /dev/disk/by-uuid/ABCD-1234 rw\n"
        "26 22 259:3 / /home/lovelace rw - ext4 /dev/nvme0n1p3 rw\n"
        "25 22 259:2 / /data rw - xfs /dev/disk/by-id/nvme-Maker_S4EWNX0M123456 rw\n"
    ),
    "dev/mapper/vg--ada-my--host--root": Link("../dm-0"),
    "proc/1/net/route": (
        "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n"
        "enxa4bf015d229c\t00000000\t010200C0\t0003\t0\t0\t100\t00000000\t0\t0\t0\n"
        "enxa4bf015d229c\t000200C0\t00000000\t0001\t0\t0\t100\t00FFFFFF\t0\t0\t0\n"
    ),
    "proc/1/net/ipv6_route": (
        "00000000000000000000000000000000 00 00000000000000000000000000000000 00 "
        "fe80000000000000a6bf01fffe5d229c 00000400 00000001 00000000 00000003 enxa4bf015d229c\n"
        "20010db8000000000000000000000000 40 00000000000000000000000000000000 00 "
        "00000000000000000000000000000000 00000100 00000001 00000000 00000001 enxa4bf015d229c\n"
    ),
    "proc/1/comm": "init\n",
    "proc/1/fd/0": Link("/dev/null"),
    "proc/driver/nvidia/gpus/0000:01:00.0/information": f"Model: V100\nGPU UUID: GPU-{UUID}\n",
    "records/nvidia-smi-L.txt": f"GPU 0: Tesla V100 (UUID: GPU-{UUID})\n",
    "records/nvidia-smi-query-gpu.csv": (
        f"index, pci.bus_id, uuid, serial\n0, 00000000:01:00.0, GPU-{UUID}, 0321919012345\n"
    ),
    "records/nvidia-smi-q.xml": "<gpu><serial>0321919012345</serial><part_number>699-2G503</part_number></gpu>\n",
    "records/notes.txt": (
        "my-host, Serial Number: X7QW\n0000:00:1f.5 Serial bus controller [0c80]: Intel\n"
        "Capabilities: [140 v1] Device Serial Number a4-bf-01-ff-ff-5d-22-9c\n"
    ),
    "records/dump.txt": "01:00.0 Ethernet\n140: "
    + " ".join(f"{byte:02x}" for byte in with_serial()[0x140:0x150])
    + "\n",
    "records/photo.bin": b"\x89PNG\0serial X7QW",
}


def redacted(files: dict[str, str | bytes] = FILES, secret: bytes = b"0" * 32) -> Capture:
    """Return a redacted capture of a host with some files."""
    tree = tree_of(files, "folder/my-host")
    return capture(tree, read_host(tree, registers=registers), secret=secret)
