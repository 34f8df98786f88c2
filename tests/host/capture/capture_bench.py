"""Captures of whatever tree, for tests."""

from __future__ import annotations

from atoll.controls.registry import registers
from atoll.host import read_host
from atoll.host.capture.make import Capture, capture
from atoll.host.tree import Tree

__all__ = ["taken"]


def taken(tree: Tree, **how: object) -> Capture:
    """Read a host from a tree, registers too, and capture it."""
    host = read_host(tree, registers=registers)
    return capture(tree, host, **how)  # type: ignore[arg-type]
