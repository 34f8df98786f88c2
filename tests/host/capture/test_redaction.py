"""Redaction: identifiers go, the same by the same, and what atoll says of the host stays."""

from __future__ import annotations

import json
import struct
import zlib
from base64 import b64encode
from pathlib import Path
from uuid import UUID as UUIDType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atoll.controls.registry import registers
from atoll.host import read_host
from atoll.host.capture.make import Capture, capture
from atoll.host.capture.redaction import Redactor
from atoll.host.capture.replacement import Kind
from atoll.host.fact import value_of
from atoll.host.trees.memory import FileEntry, MemoryTree
from atoll.twin import Twin
from host.handmade import Link, function_files, opened_tree, tree_of

UUID = "3f0a1b2c-4d5e-6f70-8192-a3b4c5d6e7f8"
MAC = "a4:bf:01:5d:22:9c"
SERIAL = bytes.fromhex("9c225dff ff01bfa4".replace(" ", ""))
CAPTURES = sorted((Path(__file__).parents[2] / "data" / "kernel-captures").glob("*.tar.xz"))


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
SECRETS = (
    *(UUID, UUID.upper(), UUID.replace("-", ""), "ABCD-1234", "abcd1234"),
    *(MAC, "a4bf015d229c", "a4-bf-01-5d-22-9c", "a6bf01fffe5d229c", "a4-bf-01-ff-ff", "9c 22 5d"),
    *("192.0.2", "010200C0", "000200C0", "20010db8", "boot.example.org", "fileserver", "ada/share"),
    *("lovelace", "hunter2", "S4EWNX0M", "0321919012345", "X7QW"),
)


def redacted(files: dict[str, str | bytes] = FILES, secret: bytes = b"0" * 32) -> Capture:
    tree = tree_of(files, "folder/my-host")
    return capture(tree, read_host(tree, registers=registers), secret=secret)


def everything(tree: MemoryTree) -> bytes:
    """All that the archive holds: names, links, contents."""
    parts = []
    for path in tree:
        entry = tree.entry(path)
        parts.append(path.encode())
        parts.append(entry.data if isinstance(entry, FileEntry) else str(entry).encode())
    return b"\n".join(parts)


def test_nothing_that_identifies_is_left() -> None:
    plain = capture(tree := tree_of(FILES), read_host(tree))
    before, after = everything(plain.tree), everything(redacted().tree)
    for secret in SECRETS:
        if secret not in (UUID.upper(), UUID.replace("-", "")):
            assert secret.encode() in before, f"{secret} does not show before: it tests nothing"
    for secret in SECRETS:
        assert secret.encode() not in after, secret
    assert SERIAL in before
    assert SERIAL not in after
    # The kernel's own build host stays; nothing else has the name.
    assert after.replace(b"6.12.1-my-host", b"").replace(b"builder@my-host", b"").count(b"my-host") == 0
    assert b"my--host" not in after


def test_the_host_is_the_same() -> None:
    tree = tree_of(FILES, "folder/my-host")
    host, again = read_host(tree), read_host(redacted().tree)
    assert again.functions.keys() == host.functions.keys()
    assert again.essential.keys() == host.essential.keys()
    assert len(again.essential) == 2
    assert again.kernel == host.kernel
    assert again.holders == host.holders
    words = value_of(again.command_line, "").split()
    assert {"intel_iommu=on", "iommu=pt", "pci=config_acs=xx111x1@0000:00:01.0"} <= set(words)
    for address, function in host.functions.items():
        assert again.functions[address].acs == function.acs
        assert again.functions[address].serial != function.serial


def test_the_same_becomes_the_same() -> None:
    made = redacted()
    tree = made.tree
    serials = [value_of(function.serial, None) for function in read_host(tree).functions.values()]
    assert len(set(serials)) == 1
    text = tree.read("records/notes.txt").decode()
    assert str(serials[0]) in text
    assert "Serial bus controller [0c80]: Intel" in text
    uuid = tree.read("records/nvidia-smi-L.txt").decode().partition("GPU-")[2][:36]
    assert uuid in tree.read("records/nvidia-smi-query-gpu.csv").decode()
    assert uuid in tree.read("proc/driver/nvidia/gpus/0000:01:00.0/information").decode()
    assert f"root=UUID={uuid} " in tree.read("proc/cmdline").decode()
    (interface,) = tree.list("sys/class/net")
    address = tree.read(f"sys/class/net/{interface}/address").decode().strip()
    assert interface == "enx" + address.replace(":", "")
    assert address.startswith("02:")
    assert (
        address.replace(":", "-") in tree.read("proc/cmdline").decode()
        or "BOOTIF=value-" in tree.read("proc/cmdline").decode()
    )
    serial = tree.read("records/nvidia-smi-q.xml").decode().partition("<serial>")[2].partition("<")[0]
    assert len(serial) == 13
    assert serial in tree.read("records/nvidia-smi-query-gpu.csv").decode()


def test_another_capture_has_other_replacements() -> None:
    one, other = redacted(secret=b"1" * 32).tree, redacted(secret=b"2" * 32).tree
    for path in ("records/nvidia-smi-L.txt", f"{NIC}/config", "proc/cmdline"):
        assert one.read(path) != other.read(path)
    assert redacted(secret=b"1" * 32).tree.read("proc/cmdline") == one.read("proc/cmdline")


def test_only_the_serial_number_of_configuration_space_changes() -> None:
    before, after = with_serial(), redacted().tree.read(f"{NIC}/config")
    assert [at for at in range(4096) if before[at] != after[at]]
    assert before[:0x144] == after[:0x144]
    assert before[0x14C:] == after[0x14C:]


@pytest.mark.parametrize("serial", [b"\0" * 8, b"\xff" * 8])
def test_no_serial_number_stays_none(serial: bytes) -> None:
    tree = MemoryTree("t")
    tree.add(f"{NIC}/config", FileEntry(with_serial(serial)))
    assert Redactor(b"s").tree(tree).read(f"{NIC}/config") == with_serial(serial)


def test_what_cannot_be_redacted_is_left_out_and_told() -> None:
    made = redacted()
    assert {entry.path for entry in made.manifest.missing} == {"records/dump.txt", "records/photo.bin"}
    assert set(made.tree.list("records")) & {"dump.txt", "photo.bin"} == set()


def test_a_list_that_breaks_off_is_told() -> None:
    config = bytearray(with_serial())
    struct.pack_into("<I", config, 0x100, 0x0001 | 1 << 16 | 0x180 << 20)
    struct.pack_into("<I", config, 0x180, 0x0002 | 1 << 16 | 0x100 << 20)
    made = redacted(function_files("0000:01:00.0", config=bytes(config)))
    assert [entry.path for entry in made.manifest.missing] == [f"{NIC}/config"]
    assert "a serial number may be left" in made.manifest.missing[0].reason


def test_the_manifest_counts() -> None:
    made = redacted()
    assert made.manifest.redactions is not None
    found = {entry.kind: (entry.values, entry.places) for entry in made.manifest.redactions}
    assert found[Kind.DEVICE_SERIAL] == (1, 3)
    assert found[Kind.UUID][0] == 3
    assert found[Kind.MAC][0] == 1
    assert found[Kind.MOUNT] == (1, 1)
    assert set(found) == set(Kind)
    assert made.manifest.host_name_known
    unnamed = redacted({path: data for path, data in FILES.items() if not path.endswith("hostname")})
    assert unnamed.manifest.host_name_known is False


def test_hives_stay_together() -> None:
    nodes = "sys/devices/virtual/kfd/kfd/topology/nodes"
    files: dict[str, str | bytes] = {"sys/class/kfd/kfd": Link("../../devices/virtual/kfd/kfd")}
    for number, bus in ((0, 1), (1, 2), (2, 3)):
        address, hive = f"0000:{bus:02x}:00.0", 998877665544332211 if number < 2 else 112233445566778899
        files |= function_files(address, vendor=0x1002, device=0x740C, kind=0x038000)
        files[f"sys/devices/pci0000:{bus:02x}/{address}/xgmi_hive_info/xgmi_hive_id"] = f"{hive}\n"
        told = f"location_id {bus << 8}\ndomain 0\nunique_id 77788899900011{number}\nhive_id {hive}\nsimd_count 440\n"
        files[f"{nodes}/{number}/properties"] = told
    tree = redacted(files).tree
    plain = tree_of(files)
    before, found = everything(capture(plain, read_host(plain)).tree), everything(tree)
    for secret in (b"998877665544332211", b"112233445566778899", b"77788899900011"):
        assert secret not in found
        assert secret in before
    hives = []
    for number, bus in ((0, 1), (1, 2), (2, 3)):
        lines = tree.read(f"{nodes}/{number}/properties").decode().splitlines()
        words = dict(line.split() for line in lines)
        assert words["location_id"] == str(bus << 8)
        assert words["simd_count"] == "440"
        folder = f"sys/bus/pci/devices/0000:{bus:02x}:00.0/xgmi_hive_info"
        assert words["hive_id"] == tree.read(f"{folder}/xgmi_hive_id").decode().strip()
        hives.append(words["hive_id"])
    assert hives[0] == hives[1] != hives[2]


@pytest.mark.parametrize("name", ["ac922-4gpu", "dgx1v"])
def test_a_twin(name: str) -> None:
    twin = Twin.new(name)
    host = read_host(twin, registers=registers)
    again = read_host(capture(twin, host, secret=b"s").tree, registers=registers)
    assert again.links == host.links
    assert again.links_told == host.links_told
    assert again.groups == host.groups
    assert again.essential == host.essential
    assert again.root_routing == host.root_routing
    for address, function in host.functions.items():
        assert again.functions[address].acs == function.acs


def test_a_real_kernel_without_identifiers_stays_as_it_is() -> None:
    """Addresses, masks, sizes and numbers of a real sysfs are not taken for identifiers."""
    for path in CAPTURES[::5]:
        tree = opened_tree(path)
        host = read_host(tree)
        plain, clean = capture(tree, host), capture(tree, host, secret=b"s")
        kinds = {entry.kind for entry in clean.manifest.redactions or ()}
        assert kinds <= {Kind.IP, Kind.MOUNT, Kind.UUID, Kind.MAC, Kind.DEVICE_SERIAL}
        differing = [
            name
            for name in plain.tree
            if name.startswith("sys/")
            and not name.endswith("/config")
            and plain.tree.entry(name) != clean.tree.entry(name)
        ]
        assert [name for name in differing if not name.endswith("/address")] == []


def test_letters_of_more_than_one_byte_are_no_line_ends() -> None:
    """The second byte of Å is 0x85, which is a line's end in Latin-1."""
    table = "25 22 259:2 / /Åland rw - xfs /dev/sda1 rw\n"
    assert redacted({"proc/1/mountinfo": table, **function_files("0000:01:00.0")}).tree.read("proc/1/mountinfo") == (
        table.encode()
    )


@pytest.mark.parametrize(
    "word", ["root=nfs:server:/export", "ip=dhcp6:server", "rd.iscsi.initiator=server", "inst.ks=http://server/x"]
)
def test_boot_parameters_that_name_others(word: str) -> None:
    found = redacted({"proc/cmdline": f"a {word} b\n", **function_files("0000:01:00.0")}).tree.read("proc/cmdline")
    assert b"server" not in found
    assert found.startswith(f"a {word.partition('=')[0]}=value-".encode())
    assert found.endswith(b" b\n")


BETWEEN = st.text(alphabet="xyz \n/,;=()", max_size=20)


@given(BETWEEN, st.uuids(), BETWEEN, st.binary(min_size=6, max_size=6), BETWEEN)
def test_no_identifier_survives(a: str, uuid: UUIDType, b: str, mac: bytes, c: str) -> None:
    known, colons = str(uuid), mac.hex(":")
    quads = mac.hex(".", 2)
    text = f"{a} {known} {b} GPU-{known.upper()} {c} {colons} {a} enx{mac.hex()} {b} {colons.upper()} {quads}"
    found = Redactor(b"s").text(text)
    assert len(found) == len(text)
    if known.strip("0-"):
        assert found.lower().count(known) == 0
    if mac.strip(b"\0") and mac.strip(b"\xff"):
        assert mac.hex() not in found.lower().replace(":", "").replace(".", "")
    # The same by the same, in whatever form it stands.
    words = found.lower().split()
    new = words[len(a.split())]
    assert f"gpu-{new}" in words
    assert Redactor(b"s").text(text) == found


@given(st.text(max_size=300))
def test_any_text_can_be_redacted(text: str) -> None:
    redactor = Redactor(b"s", host_name="x-1")
    assert redactor.text(text) == Redactor(b"s", host_name="x-1").text(text)
    tree = tree_of({"records/notes.txt": text.replace("\0", ""), "proc/cmdline": text, "proc/1/mountinfo": text})
    assert set(redactor.tree(tree)) <= set(tree)


def test_packed_configuration_space_in_a_record_is_left_out_and_told() -> None:
    packed = b64encode(zlib.compress(with_serial())).decode()
    record = json.dumps([{"realpath": "/sys/devices/pci0000:01/0000:01:00.0", "config": packed}])
    made = redacted({**function_files("0000:01:00.0"), "records/rdma.json": record})
    assert "rdma.json" not in made.tree.list("records")
    assert [entry.path for entry in made.manifest.missing] == ["records/rdma.json"]


@pytest.mark.parametrize("parameter", ["systemd.set_credential=login:hunter2", 'rd.iscsi.password="one hunter2"'])
def test_secrets_among_boot_parameters(parameter: str) -> None:
    files = {"proc/cmdline": f"quiet {parameter} iommu=pt\n", **function_files("0000:01:00.0")}
    found = redacted(files).tree.read("proc/cmdline")
    assert b"hunter2" not in found
    assert found.startswith(b"quiet ")
    assert found.endswith(b" iommu=pt\n")


def test_disks_by_their_world_wide_name() -> None:
    wide = "3600508b400105e210000900000490000"
    files: dict[str, str | bytes] = {
        **function_files("0000:01:00.0"),
        "sys/block/dm-0": Link("../devices/virtual/block/dm-0"),
        "sys/devices/virtual/block/dm-0/dm/name": f"{wide}\n",
        "proc/1/mountinfo": f"22 1 253:0 / / rw - ext4 /dev/mapper/{wide} rw\n",
    }
    tree = redacted(files).tree
    name = tree.read("sys/devices/virtual/block/dm-0/dm/name").decode().strip()
    assert name != wide
    assert f"/dev/mapper/{name} " in tree.read("proc/1/mountinfo").decode()


def test_the_number_of_a_gpu_in_its_hive() -> None:
    files = {**function_files("0000:01:00.0"), f"{NIC}/xgmi_device_id": "11529215046068469760\n"}
    assert b"11529215046068469760" not in everything(redacted(files).tree)


def test_a_serial_number_behind_a_broken_standard_list() -> None:
    config = bytearray(with_serial())
    config[0x40:0x42] = bytes((0x05, 0x00))
    made = redacted(function_files("0000:01:00.0", config=bytes(config)))
    assert SERIAL not in made.tree.read(f"{NIC}/config")


def test_what_the_register_of_vital_product_data_holds() -> None:
    config = bytearray(with_serial())
    config[0x41] = 0x80
    config[0x80:0x88] = bytes((0x03, 0x00, 0x08, 0x80)) + b"SN77"
    found = redacted(function_files("0000:01:00.0", config=bytes(config))).tree.read(f"{NIC}/config")
    assert found[0x80:0x84] == config[0x80:0x84]
    assert b"SN77" not in found


def test_vital_product_data_at_the_end_of_the_list_leaves_the_extended_one_whole() -> None:
    config = bytearray(with_serial())
    config[0x41] = 0xFC
    config[0xFC:0x100] = bytes((0x03, 0x00, 0x08, 0x80))
    made = redacted(function_files("0000:01:00.0", config=bytes(config)))
    found = made.tree.read(f"{NIC}/config")
    assert found[:0x104] == config[:0x104]
    assert SERIAL not in found


def test_vital_product_data_under_another_capability_keeps_the_list_whole() -> None:
    config = bytearray(with_serial())
    config[0x41] = 0x80
    config[0x80:0x86] = bytes((0x03, 0x84, 0x08, 0x80, 0x05, 0x00))
    made = redacted(function_files("0000:01:00.0", config=bytes(config)))
    assert made.tree.read(f"{NIC}/config")[:0x100] == config[:0x100]
    assert any("another capability lies over it" in missing.reason for missing in made.manifest.missing)
