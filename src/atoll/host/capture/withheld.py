"""A capture of a host that could be read in part: what could not be read stays unreadable.

In the archive such files are just not there, and for many facts that would be an answer: no ``driver`` link means no
driver. The manifest lists them, so that reading the archive says no more than reading the host did.
"""

from __future__ import annotations

import errno
from collections.abc import Mapping

from atoll.host.resolve import resolve
from atoll.host.tree import Tree

__all__ = ["Withheld", "withheld"]

_MANIFEST = "manifest.json"


def withheld(tree: Tree) -> Tree:
    """Return the tree of a capture with what its manifest lists as missing unreadable; any other tree as it is."""
    try:
        if not tree.read(_MANIFEST, size=1):
            return tree
    except OSError:
        return tree
    from atoll.host.capture.manifest import read_manifest

    missing: dict[str, str] = {}
    for entry in (read_manifest(tree) or {}).get("missing") or ():
        if isinstance(entry, dict) and isinstance(entry.get("path"), str):
            missing[entry["path"]] = str(entry.get("reason"))
    return Withheld(tree, missing) if missing else tree


class Withheld:
    """A tree of which some paths, by why, cannot be read where they are not there, nor listed."""

    def __init__(self, tree: Tree, missing: Mapping[str, str]) -> None:
        self._tree = tree
        self._missing: dict[str, str] = {}
        self._names: dict[str, set[str]] = {}
        """Names of what is missing, by the folder that they stand in."""
        for path, why in missing.items():
            place = self._real(path)
            self._missing[place] = why
            folder, _, name = place.rpartition("/")
            self._names.setdefault(folder, set()).add(name)

    @property
    def name(self) -> str:
        """What to call it in messages."""
        return self._tree.name

    def list(self, path: str) -> tuple[str, ...]:
        """Return the names in a folder, those of missing files included; OSError(EIO) for one that was not listed."""
        place = self._real(path, last=True)
        self._check(place, path)
        found = self._tree.list(path)
        more = self._names.get(place)
        return found if more is None else tuple(sorted({*found, *more}))

    def read(self, path: str, *, offset: int = 0, size: int | None = None) -> bytes:
        """Return what the capture has of a file; OSError(EIO) where it could not be captured."""
        try:
            return self._tree.read(path, offset=offset, size=size)
        except (FileNotFoundError, NotADirectoryError):
            self._check(self._real(path), path)
            raise

    def readlink(self, path: str) -> str:
        """Return the target text of a link; OSError(EIO) where it could not be captured."""
        try:
            return self._tree.readlink(path)
        except (FileNotFoundError, NotADirectoryError):
            self._check(self._real(path), path)
            raise

    def _check(self, place: str, path: str) -> None:
        why = self._missing.get(place)
        if why is not None:
            raise OSError(errno.EIO, f"not in the capture ({why})", path)

    def _real(self, path: str, *, last: bool = False) -> str:
        """Return a path without links, as far as it goes."""
        folder, _, name = path.strip("/").rpartition("/")
        try:
            return resolve(path if last else folder, self._target_of) + ("" if last else f"/{name}" if folder else name)
        except OSError:
            return path.strip("/")

    def _target_of(self, path: str) -> str | None:
        try:
            return self._tree.readlink(path)
        except OSError as error:
            if error.errno == errno.EINVAL:
                return None
            raise
