"""What running a command line comes to."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

CAPTURES = sorted((Path(__file__).parent.parent / "data" / "kernel-captures").glob("*.tar.xz"))
"""Real kernels' sysfs, of which the kernel's own groups are part."""


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
