"""Single files of a tree as facts: text and numbers, or the reason why they are not known."""

from __future__ import annotations

import errno

from atoll.host.fact import Fact, Known, Unknown
from atoll.host.tree import Tree

__all__ = ["exists", "names", "number", "reason", "target", "text"]

_SIZE_AT_MOST = 4 << 20
_DIGITS_AT_MOST = 66
"""``0b`` and 64 binary ones."""
_REASONS = {
    errno.ENOENT: "not there",
    errno.ENOTDIR: "not there",
    errno.EACCES: "no permission to read it: run as root",
    errno.EPERM: "not permitted (lockdown, or not root)",
    errno.ELOOP: "its links run in a loop",
}


def reason(error: OSError, path: str) -> str:
    """Return why a path could not be read, in words."""
    return f"{path}: {_REASONS.get(error.errno or 0, error.strerror or str(error))}"


def text(tree: Tree, path: str) -> Fact[str]:
    """Return a file's text without surrounding white space."""
    try:
        data = tree.read(path, size=_SIZE_AT_MOST)
    except OSError as error:
        return Unknown(reason(error, path))
    return Known(data.decode("utf-8", "replace").strip(), path)


def number(tree: Tree, path: str, base: int = 0) -> Fact[int]:
    """Return the number that a file holds; with base 0 its prefix tells the base."""
    found = text(tree, path)
    if isinstance(found, Unknown):
        return found
    try:
        # No attribute is wider than 64 bits; Python reads hexadecimal numbers that it then refuses to print.
        if len(found.value) <= _DIGITS_AT_MOST:
            return Known(int(found.value, base), path)
    except ValueError:
        pass
    return Unknown(f"{path}: no number: {found.value[:40]!r}")


def names(tree: Tree, path: str) -> Fact[tuple[str, ...]]:
    """Return the names in a folder."""
    try:
        return Known(tree.list(path), path)
    except OSError as error:
        return Unknown(reason(error, path))


def target(tree: Tree, path: str) -> str | None:
    """Return a link's target text, None where there is no link or it cannot be read."""
    try:
        return tree.readlink(path)
    except OSError:
        return None


def exists(tree: Tree, path: str) -> bool:
    """Return whether a folder that can be listed stands at the path."""
    return isinstance(names(tree, path), Known)
