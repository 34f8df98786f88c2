"""Redaction: identifiers go, the same by the same, and what atoll says of the host stays."""

from __future__ import annotations

import json
import zlib
from base64 import b64encode
from pathlib import Path
from uuid import UUID as UUIDType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atoll.controls.registry import registers
from atoll.host import read_host
from atoll.host.capture.make import capture
from atoll.host.capture.redaction import Redactor
from atoll.host.capture.replacement import Kind
from atoll.host.fact import value_of
from atoll.host.trees.memory import FileEntry, MemoryTree
from atoll.twin import Twin
from host.capture.redaction_bench import FILES, MAC, NIC, SERIAL, UUID, redacted, with_serial
from host.handmade import Link, function_files, opened_tree, tree_of

CAPTURES = sorted((Path(__file__).parents[2] / "data" / "kernel-captures").glob("*.tar.xz"))


SECRETS = (
    *(UUID, UUID.upper(), UUID.replace("-", ""), "ABCD-1234", "abcd1234"),
    *(MAC, "a4bf015d229c", "a4-bf-01-5d-22-9c", "a6bf01fffe5d229c", "a4-bf-01-ff-ff", "9c 22 5d"),
    *("192.0.2", "010200C0", "000200C0", "20010db8", "boot.example.org", "fileserver", "ada/share"),
    *("lovelace", "hunter2", "S4EWNX0M", "0321919012345", "X7QW"),
)


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


def test_what_cannot_be_redacted_is_left_out_and_told() -> None:
    made = redacted()
    assert {entry.path for entry in made.manifest.missing} == {"records/dump.txt", "records/photo.bin"}
    assert set(made.tree.list("records")) & {"dump.txt", "photo.bin"} == set()


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
