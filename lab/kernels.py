"""The kernels that the lab boots, by the names that scenarios use."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from lab.errors import LabError
from lab.fetch import part, versions_of
from lab.fetch.bundles import KERNELS

__all__ = ["DEBIAN_KERNELS", "FULL_KERNELS", "Kernel", "kernel"]

# Debian's for x86: fetched, not built. Those of a family have AMD's IOMMU too, and are three times as large.
DEBIAN_KERNELS = ("6.1", "6.12", "7")
FULL_KERNELS = tuple(f"{name}-full" for name in DEBIAN_KERNELS)


@dataclass(frozen=True, slots=True)
class Kernel:
    """A kernel on disk. ``modules``: its ``lib/modules/VERSION``; None: all built in. ``version`` names the build."""

    name: str
    image: Path
    modules: Path | None
    version: str
    powernv: bool


def kernel(name: str, *, say: Callable[[str], None] = lambda line: None) -> Kernel:
    """The kernel, fetched or built on first use. Raises `LabError` for another name, or where that fails."""
    if name not in KERNELS:
        raise LabError(f"{name}: no kernel of the lab", f"There are {', '.join(KERNELS)}.")
    if not KERNELS[name]:
        from lab.fetch.kernel_build import built_kernel

        image = built_kernel(say=say)
        return Kernel(name, image, None, image.parent.name, powernv=False)
    root = part(KERNELS[name], say=say) / "root"
    # Where the image lies has changed: /boot, later beside the modules; the package's paths, merged /usr or not.
    images = [path for top in ("boot", "usr/lib", "lib") for path in sorted((root / top).rglob("vmlinu[xz]*"))]
    folders = [path for top in ("usr/lib/modules", "lib/modules") for path in sorted((root / top).glob("*"))]
    if not images or not folders:
        raise LabError(
            f"{root}: no kernel or no modules in it", "Debian has changed its packages; adapt lab/kernels.py."
        )
    return Kernel(name, images[0], folders[0], versions_of(KERNELS[name]), powernv=name.endswith("-powernv"))
