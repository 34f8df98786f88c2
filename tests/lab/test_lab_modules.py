"""Picking modules: dependencies first, packed or not, built in or missing."""

from __future__ import annotations

import lzma
import struct
from pathlib import Path

import pytest

from lab.errors import LabError
from lab.guest.modules import ModuleTree, depends, modinfo

_HEADER = struct.Struct("<HHIQQQIHHHHHH")


def elf(info: dict[str, str]) -> bytes:
    """A 64-bit little-endian ELF file with an empty section, names of sections, and ``.modinfo``."""
    names = b"\0.shstrtab\0.modinfo\0"
    strings = b"".join(f"{key}={value}".encode() + b"\0" for key, value in info.items())
    sections = [(0, 0, 0), (1, 64, len(names)), (11, 64 + len(names), len(strings))]
    table = b"".join(
        struct.pack("<IIQQQQIIQQ", name, 1, 0, 0, offset, size, 0, 0, 1, 0) for name, offset, size in sections
    )
    at = 64 + len(names) + len(strings)
    header = b"\x7fELF\x02\x01\x01" + bytes(9) + _HEADER.pack(1, 62, 1, 0, 0, at, 0, 64, 0, 0, 64, 3, 1)
    return header + names + strings + table


@pytest.fixture
def tree(tmp_path: Path) -> ModuleTree:
    folder = tmp_path / "6.1.0"
    (folder / "kernel/vfio").mkdir(parents=True)
    (folder / "kernel/vfio/vfio.ko").write_bytes(elf({"license": "GPL", "depends": ""}))
    (folder / "kernel/irqbypass.ko.xz").write_bytes(lzma.compress(elf({"depends": ""})))
    (folder / "kernel/vfio/vfio-pci-core.ko").write_bytes(elf({"depends": "vfio,irqbypass"}))
    (folder / "kernel/vfio/vfio-pci.ko.xz").write_bytes(lzma.compress(elf({"depends": "vfio-pci-core,vfio"})))
    (folder / "modules.builtin").write_text("kernel/drivers/nvme/host/nvme-core.ko\n")
    (folder / "modules.dep").write_text("not a module")
    return ModuleTree(folder)


def test_dependencies_come_first_and_once(tree: ModuleTree) -> None:
    names = [module.name for module in tree.pick(["vfio-pci", "vfio"])]
    assert sorted(names) == ["irqbypass", "vfio", "vfio_pci", "vfio_pci_core"]
    assert names.index("vfio") < names.index("vfio_pci_core") < names.index("vfio_pci")
    assert names.index("irqbypass") < names.index("vfio_pci_core")


def test_packed_modules_are_unpacked(tree: ModuleTree) -> None:
    picked = {module.name: module.data for module in tree.pick(["vfio_pci"])}
    assert {"irqbypass", "vfio_pci"} <= picked.keys(), "both are packed"
    assert all(data.startswith(b"\x7fELF") for data in picked.values())


def test_built_in_is_no_error_and_missing_is(tree: ModuleTree) -> None:
    assert tree.pick(["nvme-core"]) == []
    assert tree.pick([], optional=["nothing-like-it"]) == []
    with pytest.raises(LabError) as caught:
        tree.pick(["nothing-like-it"])
    assert "nothing-like-it" in caught.value.message


def test_modinfo() -> None:
    module = elf({"author": "depends=wrong", "depends": "a-b,c"})
    assert modinfo(module)["author"] == "depends=wrong"
    assert depends(module) == ["a_b", "c"]
    with pytest.raises(LabError):
        modinfo(b"\x7fELF\x01\x01" + bytes(64))
