"""A twin as a document: ``"schema": "atoll.twin/1"``. What is read is not trusted.

The document names the machine and holds its state; what never changes is built anew from the machine's
declaration.
"""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from atoll.twin.error import TwinError
from atoll.twin.kernel import Kernel
from atoll.twin.spec import Blueprint
from atoll.twin.state import captured, restore
from atoll.twin.vfio import Vfio

__all__ = ["HINT", "SCHEMA", "Document", "capture", "read", "write"]

SCHEMA = "atoll.twin/1"
HINT = "make a new one with: atoll twin new NAME FILE"
MOST_BYTES = 64 << 20
"""No twin's document is bigger."""


@dataclass(frozen=True, slots=True)
class Document:
    """A document whose frame is sound; its state is checked as it is restored (:mod:`atoll.twin.state`)."""

    machine: str
    kernel: str
    links: bool
    state: dict[str, Any]

    def restore(self, kernel: Kernel, vfio: Vfio, own_files: dict[str, bytes]) -> None:
        """Put the state into a machine that has not booted. Raises what ``state.restore`` does where it is unsound."""
        restore(self.state, kernel, vfio, own_files)


def capture(blueprint: Blueprint, kernel: Kernel, vfio: Vfio, own_files: dict[str, bytes]) -> dict[str, Any]:
    """Return the document of a machine as it is now."""
    return {
        "schema": SCHEMA,
        "machine": blueprint.name,
        "kernel": blueprint.kernel.label,
        "links": blueprint.linked,
        "state": captured(kernel, vfio, own_files),
    }


def write(path: str | Path, document: dict[str, Any]) -> None:
    """Write a document to a temporary file beside its place, then rename it there."""
    target = Path(path)
    descriptor, temporary = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
    try:
        _like(target, descriptor)
        with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
            json.dump(document, stream, indent=1)
            stream.write("\n")
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(temporary, target)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
        raise


def _like(target: Path, descriptor: int) -> None:
    """Let a new file belong to whom the one in its place belongs to, and be read by whom that is."""
    try:
        found = os.stat(target)
        os.fchown(descriptor, found.st_uid, found.st_gid)
        os.fchmod(descriptor, found.st_mode & 0o777)
    except OSError:
        # It is the caller's alone then: EPERM, say, or EINVAL for an owner whom this user namespace does not know
        # (chown(2)).
        return


def read(path: str | Path) -> Document:
    """Return a document. TwinError where the file is none; OSError where it cannot be read."""
    target = Path(path)
    with target.open("rb") as file:
        data = file.read(MOST_BYTES + 1)
    if len(data) > MOST_BYTES:
        raise TwinError(f"{path}: too big for a twin", hint=HINT)
    try:
        found = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise TwinError(f"{path}: not a twin: {error}", hint=HINT) from error
    if not isinstance(found, dict) or found.get("schema") != SCHEMA:
        schema = found.get("schema") if isinstance(found, dict) else None
        raise TwinError(f"{path}: not a twin: schema is {schema!r}, not {SCHEMA!r}", hint=HINT)
    machine, kernel, links, state = (found.get(key) for key in ("machine", "kernel", "links", "state"))
    if not (
        isinstance(machine, str) and isinstance(kernel, str) and isinstance(links, bool) and isinstance(state, dict)
    ):
        raise TwinError(f"{path}: damaged twin: machine, kernel, links or state is missing", hint=HINT)
    return Document(machine, kernel, links, state)
