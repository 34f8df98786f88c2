"""For any machine: what lspci prints of a folder gives the same groups and reach as the folder itself.

lspci is asked itself, where it is installed: it reads any folder with ``-O sysfs.path``. What no lspci prints (the
kernel, its IOMMU, groups' types) is taken over; a multifunction bit of a function that is alone in its slot is not
printed either, is taken as not set and marked.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from atoll.controls.present import present
from atoll.fabric.topology import Topology
from atoll.host import read_host
from atoll.host.fact import Known, Unknown, value_of
from atoll.host.model import Host
from atoll.host.records.multifunction import ALONE
from atoll.host.records.pasted.text import read_text
from atoll.host.tree import Tree
from atoll.isolation.groups import predict
from atoll.isolation.reach import Reach
from atoll.twin import Twin
from atoll.twin.machines import MACHINES
from folder import write_folder
from hosts import Node, machine

_LSPCI = shutil.which("lspci") or "/usr/sbin/lspci"
pytestmark = pytest.mark.skipif(not Path(_LSPCI).exists(), reason="pciutils is not installed")
_ACS = 0x0D


def _printed(root: Path) -> Host:
    """What lspci prints of a folder."""
    command = [_LSPCI, "-O", f"sysfs.path={root}/sys/bus/pci", "-Dvvvnn"]
    ran = subprocess.run(command, capture_output=True, check=True, timeout=120, env={"LC_ALL": "C"})
    return read_text(ran.stdout, name="lspci.txt")


def _completed(paste: Host, folder: Host) -> tuple[Host, Host]:
    """Both hosts with what no lspci prints made the same, after a look at what it was."""
    functions, taken = {}, {}
    for address, function in folder.functions.items():
        pasted = paste.functions[address]
        functions[address] = replace(pasted, iommu=function.iommu, group=function.group, behind=function.behind)
        taken[address] = function
        alone = isinstance(pasted.multifunction, Known) and pasted.multifunction.source == ALONE
        if alone:
            taken[address] = replace(function, multifunction=pasted.multifunction)
        else:
            assert value_of(pasted.multifunction, None) == value_of(function.multifunction, None)
    same = replace(
        paste,
        functions=functions,
        kernel=folder.kernel,
        command_line=folder.command_line,
        groups=folder.groups,
        iommu_units=folder.iommu_units,
        interrupt_remapping=folder.interrupt_remapping,
        root_routing=folder.root_routing,
        platform=folder.platform,
        links=folder.links,
        links_told=folder.links_told,
        npu_bricks=folder.npu_bricks,
        registers=folder.registers,
        holders=folder.holders,
    )
    return same, replace(folder, functions=taken)


def _same_answers(paste: Host, folder: Host, *, ends: int, random: Random) -> None:
    assert list(paste.functions) == list(folder.functions)
    paste, folder = _completed(paste, folder)
    for address, function in folder.functions.items():
        pasted = paste.functions[address]
        assert (pasted.parent, pasted.physical_function) == (function.parent, function.physical_function)
        assert not (isinstance(pasted.acs, Unknown) and isinstance(function.acs, Known)), address
    here, there = predict(folder), predict(paste)
    assert there.groups == here.groups
    assert there.undetermined == here.undetermined
    one, other = (Reach(Topology(host), present(host)) for host in (folder, paste))
    leaves = [address for address, function in folder.functions.items() if not function.is_port]
    for source in random.sample(leaves, min(ends, len(leaves))):
        for target in random.sample(leaves, min(ends, len(leaves))):
            if source != target:
                assert other.answer(source, target).answer == one.answer(source, target).answer, (source, target)


def _shuffled(root: Path, nodes: list[Node], random: Random) -> None:
    """Give the functions of a folder other bits: ACS, bus mastering, multifunction."""
    slots = Counter(node.address[:-2] for node in nodes)
    for node in nodes:
        folder = root / node.folder
        # Of another kernel: then the port above decides.
        (folder / "ari_enabled").unlink()
        space = bytearray((folder / "config").read_bytes())
        at = 0x100 if len(space) > 0x100 else 0
        while at:
            head = int.from_bytes(space[at : at + 4], "little")
            if head & 0xFFFF == _ACS:
                capability = space[at + 4] & 0x5F
                space[at + 6] = capability & random.choice((0x00, 0x1D, 0x5D, random.randrange(0x80), 0xFF))
            at = head >> 20
        if random.random() < 0.3:
            space[4] ^= random.choice((0x02, 0x04, 0x06))
        # Linux scans for further functions only where function 0 has the bit: it never lacks it beside others.
        if random.random() < 0.2 and node.physical is None and (node.function or slots[node.address[:-2]] == 1):
            space[0x0E] ^= 0x80
        (folder / "config").write_bytes(space)


@given(size=st.integers(3, 60), seed=st.integers(0, 1 << 30))
@settings(max_examples=25)
def test_generated_machines(size: int, seed: int) -> None:
    random = Random(seed)
    with tempfile.TemporaryDirectory() as place:
        root = Path(place)
        nodes = machine(size, seed)
        write_folder(root, nodes)
        _shuffled(root, nodes, random)
        _same_answers(_printed(root), read_host(str(root)), ends=8, random=random)


def _copy(tree: Tree, root: Path, path: str) -> None:
    """Write what of a tree stands below a path."""
    for name in tree.list(path):
        below, real = f"{path}/{name}", root / path / name
        try:
            target = tree.readlink(below)
        except OSError:
            target = ""
        if target:
            real.parent.mkdir(parents=True, exist_ok=True)
            real.symlink_to(target)
        elif _is_folder(tree, below):
            real.mkdir(parents=True, exist_ok=True)
            _copy(tree, root, below)
        elif not name.startswith("resource") or name == "resource":
            real.parent.mkdir(parents=True, exist_ok=True)
            real.write_bytes(_bytes(tree, below))


def _is_folder(tree: Tree, path: str) -> bool:
    try:
        tree.list(path)
    except OSError:
        return False
    return True


def _bytes(tree: Tree, path: str) -> bytes:
    try:
        return tree.read(path)
    except OSError:
        return b""


def _roots(tree: Tree) -> Iterator[str]:
    yield "sys/bus/pci"
    for name in tree.list("sys/devices"):
        if name.startswith("pci"):
            yield f"sys/devices/{name}"


@pytest.mark.parametrize("name", sorted(MACHINES))
def test_twins(name: str, tmp_path: Path) -> None:
    twin = Twin.new(name)
    for path in _roots(twin):
        _copy(twin, tmp_path, path)
    _same_answers(_printed(tmp_path), read_host(twin), ends=40, random=Random(name))
