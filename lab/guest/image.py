"""The initial RAM file system of one run, in three layers: kernel and Python (cached), atoll, and the scenario."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from lab.fetch import part, versions_of
from lab.fetch.cache import cache_folder, exclusive
from lab.guest.bytecode import compile_sources
from lab.guest.cpio import Entry, device, file, folder, write_cpio
from lab.guest.modules import Module, ModuleTree
from lab.guest.stdlib import python_entries

__all__ = ["OPTIONAL_MODULES", "SOURCE", "build_image"]

SOURCE = Path(__file__).resolve().parents[2] / "src"

_INSIDE = Path(__file__).with_name("inside")

# Loaded wherever the kernel has them as modules: VFIO, IOMMUs that are modules, and small drivers of devices that
# a machine of the lab may have. vfio_virqfd is a module of its own up to 6.1.
OPTIONAL_MODULES = (
    *("virtio_iommu", "virtio_pci", "vfio", "irqbypass", "vfio_virqfd", "vfio_iommu_type1", "vfio_iommu_spapr_tce"),
    *("vfio_pci_core", "vfio_pci", "pci_pf_stub", "nvme", "i6300esb", "e1000e", "igb", "igbvf"),
)


def build_image(
    guest: str,
    module_folder: Path | None,
    kernel_version: str,
    *,
    files: Mapping[str, bytes],
    modules: Iterable[str] = (),
) -> bytes:
    """The archive to boot with. ``guest``: the bundle of its Python; ``module_folder``: the kernel's modules, if any.

    ``kernel_version`` changes when the kernel's packages do. Raises `LabError` for a module that the kernel lacks.
    """
    layers = [
        _base_layer(guest, module_folder, kernel_version),
        write_cpio(_atoll_entries()),
        write_cpio(_run_entries(module_folder, files, modules)),
    ]
    return b"".join(layer + bytes(-len(layer) % 4) for layer in layers)


def _base_layer(guest: str, module_folder: Path | None, kernel_version: str) -> bytes:
    cache = cache_folder()
    root = part(guest) / "root"
    made_by = [*sorted(Path(__file__).parent.glob("*.py")), *(_INSIDE / name for name in ("init", "labguest.py"))]
    code = b"".join(path.read_bytes() for path in made_by)
    key = hashlib.sha256(f"{versions_of(guest)}\n{kernel_version}\n".encode() + code).hexdigest()
    place = cache / "images" / f"{key[:24]}.cpio"
    if not place.exists():
        with exclusive(cache, f"image-{key[:24]}"):
            if not place.exists():
                entries = [*_system_entries(root), *python_entries(root)]
                entries += _module_entries(_default_modules(module_folder), "0-kernel")
                place.parent.mkdir(exist_ok=True)
                new = place.with_suffix(f".{os.getpid()}")
                new.write_bytes(write_cpio(entries))
                new.replace(place)
    return place.read_bytes()


def _system_entries(root: Path) -> list[Entry]:
    return [
        file("bin/busybox", (root / "bin/busybox").read_bytes(), executable=True),
        file("init", (_INSIDE / "init").read_bytes(), executable=True),
        file("lab/labguest.py", (_INSIDE / "labguest.py").read_bytes()),
        folder("lab/modules"),
        # Before devtmpfs is mounted the kernel gives this to /init as its standard input and output (init/main.c).
        device("dev/console", major=5, minor=1),
    ]


def _atoll_entries() -> list[Entry]:
    """atoll as in this clone: the sources, so that a traceback shows lines, with their bytecode beside them."""
    sources = {}
    entries = []
    for path in sorted((SOURCE / "atoll").rglob("*")):
        if path.is_file() and "__pycache__" not in path.parts:
            inner = f"lab/{path.relative_to(SOURCE).as_posix()}"
            data = path.read_bytes()
            entries.append(file(inner, data))
            if path.suffix == ".py":
                sources[inner] = data
    for inner, code in compile_sources(sources).items():
        place, _, name = inner.rpartition("/")
        entries.append(file(f"{place}/__pycache__/{name.removesuffix('.py')}.cpython-311.pyc", code))
    return entries


def _run_entries(module_folder: Path | None, files: Mapping[str, bytes], modules: Iterable[str]) -> list[Entry]:
    entries = [file(path.lstrip("/"), data) for path, data in files.items()]
    wanted = list(modules)
    if wanted and module_folder:
        loaded = {module.name for module in _default_modules(module_folder)}
        picked = [module for module in ModuleTree(module_folder).pick(wanted) if module.name not in loaded]
        entries += _module_entries(picked, "1-run")
    return entries


def _default_modules(module_folder: Path | None) -> list[Module]:
    """None where everything is built in."""
    return ModuleTree(module_folder).pick((), optional=OPTIONAL_MODULES) if module_folder else []


def _module_entries(modules: list[Module], order: str) -> list[Entry]:
    names = "".join(f"{module.name}\n" for module in modules)
    return [
        file(f"lab/modules/{order}.order", names.encode()),
        *(file(f"lab/modules/{module.name}.ko", module.data) for module in modules),
    ]
