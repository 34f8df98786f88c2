"""QEMU from the cache: with loader, libraries, firmware and modules fetched with it, none of the host's."""

from __future__ import annotations

import os
from dataclasses import dataclass

from lab.errors import LabError
from lab.fetch import part

__all__ = ["Emulator", "emulator"]


@dataclass(frozen=True, slots=True)
class Emulator:
    """How to start QEMU: the words in front of its arguments, and its environment."""

    command: tuple[str, ...]
    environment: dict[str, str]


def emulator(*, powernv: bool = False) -> Emulator:
    """QEMU for x86-64 or for PowerNV, fetched on first use. Raises `LabError` where that fails."""
    if os.uname().machine != "x86_64":
        raise LabError(f"this machine is {os.uname().machine}", "The lab's emulator is fetched for x86-64 machines.")
    root = part("qemu-ppc" if powernv else "qemu-x86") / "root"
    libraries = root / "usr/lib/x86_64-linux-gnu"
    return Emulator(
        command=(
            *(str(root / "usr/lib64/ld-linux-x86-64.so.2"), "--library-path", str(libraries)),
            str(root / "usr/bin" / ("qemu-system-ppc64" if powernv else "qemu-system-x86_64")),
            *("-L", str(root / "usr/share/qemu"), "-L", str(root / "usr/share/seabios")),
        ),
        # Without QEMU_MODULE_DIR it would load modules of a QEMU installed on the host.
        environment={**os.environ, "QEMU_MODULE_DIR": str(libraries / "qemu"), "LC_ALL": "C.UTF-8"},
    )
