"""What the lab fetches: one declarative table of bundles, each unpacked into a folder of its own."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

__all__ = ["ARCHIVES", "BUNDLES", "KERNELS", "Archive", "Bundle"]


@dataclass(frozen=True, slots=True)
class Archive:
    """The suites that one private apt looks at, for one architecture."""

    suites: tuple[str, ...]
    architecture: str
    pins: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Bundle:
    """Packages that are fetched and unpacked together.

    ``resolve``: with all that they depend on. ``follow``: packages of the direct dependencies to take instead of the
    named ones, by prefix, in several steps; so a kernel is found behind its meta package, whose name has no version.
    ``series``: the kernel's, as ``6.12``: an older one is taken where the mirror does not hold the newest. ``leave``:
    patterns of folders that are not kept. ``unpacked``: about how many bytes the rest takes.

    What was fetched is known by the ``repr`` of its bundle: with another it is fetched anew.
    """

    archive: str
    packages: tuple[str, ...]
    summary: str
    resolve: bool = False
    follow: tuple[str, ...] = ()
    series: str = field(default="", repr=False)
    leave: tuple[str, ...] = (
        "usr/share/doc",
        "usr/share/man",
        "usr/share/locale",
        "usr/share/lintian",
        "usr/share/bug",
    )
    unpacked: int = 0


# vfio-user-pci came with QEMU 10.1: only backports has it. Its ROMs must match; the rest is trixie's.
_BACKPORTED = "Package: qemu* seabios ipxe*\nPin: release n=trixie-backports\nPin-Priority: 990\n"

ARCHIVES = {
    "bookworm": Archive(("bookworm",), "amd64"),
    "trixie": Archive(("trixie", "trixie-backports"), "amd64", (_BACKPORTED,)),
    "bookworm-ppc64el": Archive(("bookworm",), "ppc64el"),
    "trixie-ppc64el": Archive(("trixie",), "ppc64el"),
}

# What the guest runs: Python and the libraries behind the parts of its standard library that atoll uses.
_GUEST = (
    *("busybox-static", "libc6", "libgcc-s1", "python3.11-minimal", "libpython3.11-minimal", "libpython3.11-stdlib"),
    *("zlib1g", "libexpat1", "libffi8", "libbz2-1.0", "liblzma5", "libsqlite3-0"),
)

# bc and the compiler are expected on the machine; flex, bison, libelf and their libraries rarely are.
_TOOLS = ("flex", "bison", "m4", "libsigsegv2", "libelf-dev", "libelf1", "zlib1g-dev", "zlib1g")

# The image came in one package until 6.x; 7 has it in several.
_KERNEL = ("linux-image-", "linux-binary-", "linux-modules-", "linux-base-")

# Debian's cloud kernels lack AMD's IOMMU: the full ones have it, and drivers that no machine of the lab needs.
_UNUSED_DRIVERS = tuple(
    f"lib/modules/*/kernel/{name}" for name in ("sound", "drivers/gpu", "drivers/media", "drivers/net/wireless", "fs")
)


def _kernel(archive: str, package: str, series: str, summary: str, *, unpacked: int) -> Bundle:
    return Bundle(archive, (package,), summary, follow=_KERNEL, series=series, unpacked=unpacked)


def _full(archive: str, package: str, series: str, summary: str) -> Bundle:
    leave = ("usr/share/doc", *_UNUSED_DRIVERS, *(f"usr/{pattern}" for pattern in _UNUSED_DRIVERS))
    return replace(_kernel(archive, package, series, f"{summary}, with AMD's IOMMU", unpacked=450 << 20), leave=leave)


_CLOUD, _FULL, _POWERNV = "linux-image-cloud-amd64", "linux-image-amd64", "linux-image-powerpc64le"
_BOOKWORM, _TRIXIE = "Linux 6.1 (Debian 12)", "Linux 6.12 (Debian 13)"

BUNDLES = {
    "qemu-x86": Bundle("trixie", ("qemu-system-x86",), "QEMU for x86", resolve=True, unpacked=160 << 20),
    "qemu-ppc": Bundle("trixie", ("qemu-system-ppc",), "QEMU for PowerNV", resolve=True, unpacked=160 << 20),
    "kernel-6.1": _kernel("bookworm", _CLOUD, "6.1", _BOOKWORM, unpacked=110 << 20),
    "kernel-6.12": _kernel("trixie", f"{_CLOUD}/trixie", "6.12", _TRIXIE, unpacked=110 << 20),
    "kernel-7": _kernel(
        "trixie", f"{_CLOUD}/trixie-backports", "7", "Linux 7 (Debian 13 backports)", unpacked=110 << 20
    ),
    "guest-x86": Bundle("bookworm", _GUEST, "the guest's Python, x86", unpacked=60 << 20),
    "kernel-source": Bundle("trixie", ("linux-source-6.12",), "the source of Linux 6.12", unpacked=170 << 20),
    "kernel-tools": Bundle("bookworm", _TOOLS, "what building a kernel needs", unpacked=20 << 20),
    "kernel-6.1-full": _full("bookworm", _FULL, "6.1", _BOOKWORM),
    "kernel-6.12-full": _full("trixie", f"{_FULL}/trixie", "6.12", _TRIXIE),
    "kernel-7-full": _full("trixie", f"{_FULL}/trixie-backports", "7", "Linux 7 (backports)"),
    "kernel-6.1-powernv": _kernel("bookworm-ppc64el", _POWERNV, "6.1", f"{_BOOKWORM}, ppc64el", unpacked=400 << 20),
    "kernel-6.12-powernv": _kernel("trixie-ppc64el", _POWERNV, "6.12", f"{_TRIXIE}, ppc64el", unpacked=500 << 20),
    "guest-powernv": Bundle("bookworm-ppc64el", _GUEST, "the guest's Python, ppc64el", unpacked=60 << 20),
}

# The kernels that `Boot.kernel` names, and the bundle of each ("" where the lab builds it).
KERNELS = {
    "6.1": "kernel-6.1",
    "6.12": "kernel-6.12",
    "7": "kernel-7",
    "iommufd": "",
    "6.1-full": "kernel-6.1-full",
    "6.12-full": "kernel-6.12-full",
    "7-full": "kernel-7-full",
    "6.1-powernv": "kernel-6.1-powernv",
    "6.12-powernv": "kernel-6.12-powernv",
}
