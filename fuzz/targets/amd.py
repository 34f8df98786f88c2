"""A machine of AMD's, changed at will: a hive of GPUs in the KFD topology and in sysfs, and the firmware's IVRS table.

The input is a list of changes, as those of ``trees`` are.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from functools import cache
from itertools import combinations
from zlib import crc32

from atoll.controls.registry import registers
from atoll.host import read_host
from atoll.host.capture.make import capture
from atoll.host.fact import value_of
from atoll.host.ivrs import IVRS
from atoll.host.model import Host
from atoll.host.tree import Tree
from atoll.host.trees.memory import Entry, FileEntry, LinkEntry
from atoll.pci.address import Address
from fuzz.answers import answers
from fuzz.target import Target
from fuzz.targets.functions import TABLE
from fuzz.targets.seeds import capture_tree, few_functions
from fuzz.targets.trees import CHANGE, ONE_IN, Machine, change

__all__ = ["AMD"]

_GPUS = ("0000:03:00.0", "0000:0a:01.0", "0000:12:00.0", "0000:13:00.0")
"""The table gives ids beside their own to the first two."""
_VENDOR, _MI210 = 0x1002, 0x740F
_CLASS = 0x120000
_HIVE = 77
_CAPTURED_ONE_IN = 8
_NODES = "sys/class/kfd/kfd/topology/nodes"
_CPU_LINK, _HOP = "type 2\nnode_to 0\nweight 20\n", "type 11\nnode_to {}\nweight 15\n"
_RATES = "min_bandwidth 50000\nmax_bandwidth 100000\n"


@cache
def _machines() -> tuple[Machine, ...]:
    tree = few_functions(capture_tree("linux-7.3-q35-amd-206"), "0000:80:00.0", "0000:81:00.0")
    own = _files()
    for path, entry in own.items():
        tree.add(path, entry)
    # What the rest of the machine comes to is for the target ``machine``.
    return ((tree, tuple(own)),)


def _files() -> dict[str, Entry]:
    texts: dict[str, str] = {f"{_NODES}/0/properties": "cpu_cores_count 8\n"}
    found: dict[str, Entry] = {IVRS: FileEntry(TABLE)}
    for number, gpu in enumerate(_GPUS, 1):
        folder, node = _folder(gpu), f"{_NODES}/{number}"
        found[f"sys/bus/pci/devices/{gpu}"] = LinkEntry(f"../../../{folder.removeprefix('sys/')}")
        found[f"{folder}/config"] = FileEntry(struct.pack("<HHHHI52x", _VENDOR, _MI210, 6, 0, _CLASS << 8))
        texts[f"{folder}/uevent"] = f"DRIVER=amdgpu\nPCI_CLASS={_CLASS:X}\nPCI_ID={_VENDOR:04X}:{_MI210:04X}\n"
        texts[f"{node}/properties"] = (
            f"cpu_cores_count 0\nvendor_id {_VENDOR}\ndevice_id {_MI210}\n"
            f"location_id {Address.parse(gpu).requester_id}\ndomain 0\nhive_id {_HIVE}\nunique_id {number}\n"
            f"num_sdma_xgmi_engines 3\nio_links_count {len(_GPUS)}\n"
        )
        texts[f"{node}/io_links/0/properties"] = _CPU_LINK
        others = (other for other in range(1, len(_GPUS) + 1) if other != number)
        for place, other in enumerate(others, 1):
            texts[f"{node}/io_links/{place}/properties"] = _HOP.format(other) + _RATES
        if number > 1:
            found[f"{folder}/xgmi_hive_info"] = LinkEntry(f"../../{_folder(_GPUS[0])[12:]}/xgmi_hive_info")
        found[f"{_folder(_GPUS[0])}/xgmi_hive_info/node{number}"] = LinkEntry(f"../../../{folder[12:]}")
    texts[f"{_folder(_GPUS[0])}/xgmi_hive_info/xgmi_hive_id"] = f"{_HIVE}\n"
    texts |= {f"{_folder(gpu)}/xgmi_port_num": lines for gpu, lines in _ports().items()}
    return found | {path: FileEntry(text.encode()) for path, text in texts.items()}


def _folder(gpu: str) -> str:
    return f"sys/devices/pci{gpu[:7]}/{gpu}"


def _ports() -> dict[str, str]:
    """Two links a pair, a line each at both ends."""
    lines = dict.fromkeys(_GPUS, "")
    used = dict.fromkeys(_GPUS, 0)
    for one, other in (*combinations(_GPUS, 2), *combinations(_GPUS, 2)):
        ends = [f"{_GPUS.index(gpu) + 1:02x}:{used[gpu]:02x}" for gpu in (one, other)]
        lines[one] += f"{ends[0]} ->  {ends[1]}\n"
        lines[other] += f"{ends[1]} ->  {ends[0]}\n"
        used[one] += 1
        used[other] += 1
    return lines


def _amd(data: bytes) -> None:
    tree = change(data, _machines())
    host = read_host(tree, registers=registers)
    chance = crc32(data)
    if chance % _CAPTURED_ONE_IN == 0:
        _captured_alike(tree, host)
    if chance % ONE_IN == 0:
        answers(host, tree)


def _captured_alike(tree: Tree, host: Host) -> None:
    again = read_host(capture(tree, host).tree, registers=registers)
    assert (again.links, again.links_told) == (host.links, host.links_told), "a capture tells other links"
    aliases = [value_of(each.firmware_aliases, None) for each in (host, again)]
    assert aliases[0] == aliases[1], "a capture tells other aliases"


def _seeds() -> Iterator[bytes]:
    (machine,) = _machines()
    yield bytes(1)
    texts = (b"", b"hive_id 78\n", b"0\n", b"weight 30\ntype 11\nnode_to 2\n", b"01:00 ->  01:00\n", TABLE[:60])
    for which in range(len(machine[1])):
        text = texts[which % len(texts)]
        yield bytes(1) + CHANGE.pack(which, 0, len(text)) + text + CHANGE.pack(which + 1, 3, 0)


_WORDS = (
    *(b"type 11\n", b"node_to 2\n", b"weight 15\n", b"weight 41\n", b"weight 13\n", b"hive_id 0\n", b"unique_id 1\n"),
    *(b"location_id 2568\n", b"domain 65536\n", b"io_links_count 1\n", b"max_bandwidth 18446744073709551615\n"),
    *(b"01:00 ->  02:00\n", b"ff:ff -> ff:ff\n", b"99999999999999999999\n", b"\x43\x00\x01\x00", b"\x04\xff\xff\x00"),
)

AMD = (Target("amd", _amd, _seeds, _WORDS, longest=2048),)
