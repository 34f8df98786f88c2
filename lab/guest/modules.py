"""Kernel modules: the wanted ones and what they depend on, in an order that loads."""

from __future__ import annotations

import lzma
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from lab.errors import LabError

__all__ = ["Module", "ModuleTree", "depends", "modinfo"]


@dataclass(frozen=True, slots=True)
class Module:
    """A module by its name (with ``_``), and its uncompressed file."""

    name: str
    data: bytes


class ModuleTree:
    """The modules of one kernel: a folder ``lib/modules/VERSION``."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._files = {_name(path): path for path in sorted(folder.rglob("*.ko*")) if _kind(path) is not None}
        try:
            lines = (folder / "modules.builtin").read_text().splitlines()
        except FileNotFoundError:
            lines = []
        self._built_in = {_name(Path(line)) for line in lines}

    def pick(self, wanted: Iterable[str], *, optional: Iterable[str] = ()) -> list[Module]:
        """The modules to load, dependencies first; what is built into the kernel is left out.

        Raises `LabError` for a wanted one that this kernel does not have; optional ones are taken where there are any.
        """
        picked: dict[str, Module] = {}
        for name in optional:
            if _spelled(name) in self._files:
                self._add(_spelled(name), picked)
        for name in wanted:
            if _spelled(name) in self._built_in:
                continue
            if _spelled(name) not in self._files:
                raise LabError(
                    f"{self._folder.name} has no module {name}", "Take another kernel, or leave the module out."
                )
            self._add(_spelled(name), picked)
        return list(picked.values())

    def _add(self, name: str, picked: dict[str, Module]) -> None:
        if name in picked or name not in self._files:
            return
        data = _read(self._files[name])
        for needed in depends(data):
            self._add(needed, picked)
        picked[name] = Module(name, data)


def depends(module: bytes) -> list[str]:
    """The names of the modules that must be loaded before (``depends`` of modinfo)."""
    return [_spelled(name) for name in modinfo(module).get("depends", "").split(",") if name]


def modinfo(module: bytes) -> dict[str, str]:
    """The last value of each key in the ``.modinfo`` section of a 64-bit little-endian ELF file (``man 5 elf``)."""
    if module[:6] != b"\x7fELF\x02\x01":
        raise LabError("a kernel module is no 64-bit little-endian ELF file", "Remove the cache and fetch again.")
    (sections,) = struct.unpack_from("<Q", module, 0x28)
    size, count, names_index = struct.unpack_from("<HHH", module, 0x3A)
    headers = [struct.unpack_from("<IIQQQQ", module, sections + number * size) for number in range(count)]
    names = headers[names_index][4]
    for name, _kind, _flags, _address, offset, length in headers:
        start = names + name
        if module[start : module.index(b"\0", start)] == b".modinfo":
            items = module[offset : offset + length].split(b"\0")
            return dict(item.decode(errors="replace").partition("=")[::2] for item in items if item)
    return {}


def _name(path: Path) -> str:
    return _spelled(path.name.partition(".ko")[0])


def _spelled(name: str) -> str:
    return name.replace("-", "_")


def _kind(path: Path) -> str | None:
    """How the file is packed: "", "xz"; None for what is no module."""
    return {".ko": "", ".xz": "xz"}.get(path.suffix)


def _read(path: Path) -> bytes:
    data = path.read_bytes()
    return lzma.decompress(data) if _kind(path) == "xz" else data
