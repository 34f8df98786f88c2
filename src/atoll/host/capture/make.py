"""A capture: everything that atoll reads of a host, as files, so that it can be read elsewhere and later."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, fields
from typing import Any

from atoll import __version__
from atoll.host import linux
from atoll.host.attribute import text
from atoll.host.capture import manifest, register_record
from atoll.host.capture.collector import CaptureLimits, Collector, Missing, Progress
from atoll.host.capture.manifest import Manifest, Redaction
from atoll.host.capture.redaction import Redactor
from atoll.host.capture.relevant import SECTIONS
from atoll.host.fact import Fact, Known, value_of
from atoll.host.model import Host, Register
from atoll.host.tree import Tree
from atoll.host.trees.memory import FileEntry, MemoryTree
from atoll.pci.address import Address

__all__ = ["Capture", "capture"]

_KEPT_IN_MANIFEST = 2000
"""Paths that could not be read: on a host without privileges there may be one for each process."""


@dataclass(frozen=True, slots=True)
class Capture:
    """The files, and what the capture says of itself (``manifest.json`` is among the files)."""

    tree: MemoryTree
    manifest: Manifest


def _silent(what: str, done: int, count: int) -> None:
    """Show no progress."""


def capture(
    tree: Tree,
    host: Host,
    *,
    secret: bytes | None = None,
    time: str | None = None,
    limits: CaptureLimits | None = None,
    progress: Progress = _silent,
) -> Capture:
    """Return the relevant files of a tree, links kept as links.

    ``host`` is what was read from the tree: its registers become a record, and the capture is held against it.
    With ``secret`` (random, and thrown away afterwards) identifiers are replaced.
    """
    take = Collector(tree, limits)
    sections = []
    for section in SECTIONS:
        before = take.files + take.links
        section.take(take, progress)
        sections.append((section.name, take.files + take.links - before))
    registers = {**register_record.read_record(tree), **host.registers}
    if registers:
        take.put(register_record.PATH, register_record.record(registers))
    changed = _changed(host, take.found)
    found, redactor = take.found, None
    if secret is not None:
        progress("redaction", 0, 1)
        redactor = Redactor(secret, host_name=value_of(text(tree, "proc/sys/kernel/hostname"), ""))
        found = redactor.tree(found)
    earlier = manifest.read_manifest(tree)
    told = Manifest(
        atoll=__version__,
        source=_text(redactor, tree.name.rstrip("/").rpartition("/")[2]),
        kernel=host.kernel.value.text if isinstance(host.kernel, Known) else None,
        platform=host.platform.value,
        functions=len(host.functions),
        groups=len(host.groups.value) if isinstance(host.groups, Known) else None,
        sections=tuple(sections),
        files=take.files,
        links=take.links,
        content=take.content,
        missing=_paths(redactor, take.missing + (redactor.missing if redactor is not None else [])),
        limited=_paths(redactor, take.limited),
        changed=tuple(_text(redactor, what) for what in changed),
        redactions=_redactions(redactor),
        host_name_known=None if redactor is None else redactor.knows_host_name,
        time=time,
        before=None if earlier is None else _told(redactor, earlier),
    )
    found.add(manifest.PATH, FileEntry(manifest.dump(told)))
    return Capture(found, told)


def _text(redactor: Redactor | None, text: str) -> str:
    return text if redactor is None else redactor.text(text)


def _told(redactor: Redactor | None, earlier: dict[str, Any]) -> dict[str, Any]:
    """Return an earlier manifest with its texts redacted: a text at a time, so that it stays JSON."""
    done: dict[str, Any] = {}
    waiting: deque[tuple[Any, Any, Any]] = deque((done, key, value) for key, value in earlier.items())
    while waiting:
        place, key, value = waiting.popleft()
        found = value
        if isinstance(value, str):
            found = _text(redactor, value)
        elif isinstance(value, dict):
            found = {}
            waiting += [(found, name, below) for name, below in value.items()]
        elif isinstance(value, list):
            found = [None] * len(value)
            waiting += [(found, number, below) for number, below in enumerate(value)]
        place[_text(redactor, key) if isinstance(key, str) else key] = found
    return done


def _paths(redactor: Redactor | None, found: list[Missing]) -> tuple[Missing, ...]:
    unique = dict.fromkeys(found)
    kept = [Missing(_text(redactor, entry.path), entry.reason) for entry in list(unique)[:_KEPT_IN_MANIFEST]]
    more = len(unique) - len(kept)
    return (*kept, *([Missing("…", f"and {more} more")] if more else []))


def _redactions(redactor: Redactor | None) -> tuple[Redaction, ...] | None:
    if redactor is None:
        return None
    replaced = redactor.replaced
    return tuple(Redaction(kind.value, replaced.distinct(kind), places) for kind, places in replaced.counts.items())


def _changed(host: Host, found: MemoryTree) -> list[str]:
    """Return in what the captured files tell another host: it changed meanwhile, or a limit cut something."""
    wanted: dict[tuple[int, int], dict[Register, None]] = {}
    for address, register in host.registers:
        function = host.functions[address]
        wanted.setdefault((function.vendor, function.device), {})[register] = None
    again = linux.read(found, registers=lambda vendor, device: tuple(wanted.get((vendor, device), ())))
    changed = [
        part
        for part in (field.name for field in fields(Host))
        if part not in _NOT_COMPARED and _value(getattr(host, part)) != _value(getattr(again, part))
    ]
    for address in sorted(host.functions.keys() | again.functions.keys()):
        one, other = host.functions.get(address), again.functions.get(address)
        if one is None or other is None:
            changed.append(f"{address}: {'came' if one is None else 'is not in the capture'}")
        elif one != other:
            names = (field.name for field in fields(one))
            changed.append(f"{address}: {', '.join(n for n in names if getattr(one, n) != getattr(other, n))}")
    before, after = _registers(host), _registers(again)
    for address, register in before:
        if before[address, register] != after.get((address, register)):
            changed.append(f"{address}: register {register.bar}:0x{register.offset:x}")
    return changed


_NOT_COMPARED = ("name", "functions", "registers", "gaps", "provenance")


def _value(fact: object) -> object:
    return fact.value if isinstance(fact, Known) else fact


def _registers(host: Host) -> dict[tuple[Address, Register], Fact[int] | int]:
    return {key: fact.value if isinstance(fact, Known) else fact for key, fact in host.registers.items()}
