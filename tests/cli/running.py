"""What running a command line comes to."""

from __future__ import annotations

import json
import tarfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_DATA = Path(__file__).parent.parent / "data"
CAPTURES = sorted((_DATA / "kernel-captures").glob("*.tar.xz"))
"""Real kernels' sysfs, of which the kernel's own groups are part."""
MACHINES = _DATA / "records" / "machines"
"""Recorded machines, a folder each."""


@dataclass(frozen=True, slots=True)
class Ran:
    """What a command line came to."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> dict[str, Any]:
        """The document on standard output."""
        found: dict[str, Any] = json.loads(self.out)
        return found


Run = Callable[..., Ran]


def unpack(capture: Path, folder: Path, part: str = "") -> None:
    """Unpack a capture of ours, or what of it begins with ``part``."""
    # Python before 3.11.4 has no filters; later ones want one to be named.
    filters = {"filter": "tar"} if hasattr(tarfile, "tar_filter") else {}
    with tarfile.open(capture) as archive:
        members = [member for member in archive if member.name.startswith(part)]
        for member in members:
            # Attributes that nobody writes can be damaged by a test all the same, whoever runs it.
            member.mode |= 0o200
        archive.extractall(folder, members, **filters)  # type: ignore[arg-type]
