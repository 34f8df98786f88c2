"""What is measured: atoll's verbs, and the programs that people use today, each on the same folder."""

from __future__ import annotations

import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

__all__ = ["PEERS", "Peer", "missing"]


@dataclass(frozen=True, slots=True)
class Peer:
    """One program with its arguments; ``{}`` stands for the folder."""

    name: str
    command: tuple[str, ...]
    environment: tuple[tuple[str, str], ...] = ()
    package: str = ""
    """The Debian package that brings it; empty for atoll itself."""

    def arguments(self, folder: Path) -> list[str]:
        """Return the command for a folder."""
        return [word.replace("{}", str(folder)) for word in self.command]

    def variables(self, folder: Path) -> dict[str, str]:
        """Return the environment variables that it needs for a folder."""
        return {name: value.replace("{}", str(folder)) for name, value in self.environment}


_ATOLL = (sys.executable, "-m", "atoll")
_LSPCI = ("lspci", "-O", "sysfs.path={}/sys/bus/pci")

PEERS = (
    Peer("atoll groups --json", (*_ATOLL, "groups", "--json", "--host", "{}")),
    Peer("atoll show --json", (*_ATOLL, "show", "--json", "--host", "{}")),
    Peer("lspci", _LSPCI, package="pciutils"),
    Peer("lspci -tv", (*_LSPCI, "-tv"), package="pciutils"),
    Peer("lspci -vvv", (*_LSPCI, "-vvv"), package="pciutils"),
    Peer(
        "lstopo --whole-io",
        ("lstopo", "--of", "console", "--whole-io"),
        (("HWLOC_FSROOT", "{}"), ("HWLOC_COMPONENTS", "-x86")),
        package="hwloc",
    ),
)


def missing(peer: Peer) -> str:
    """Return why a peer cannot be run here and how to get it; empty where it can."""
    if shutil.which(peer.command[0]):
        return ""
    return f"{peer.name}: {peer.command[0]} is not installed, so it is left out (Debian: apt install {peer.package})"
