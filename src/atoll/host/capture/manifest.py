"""What a capture says of itself: ``manifest.json``, schema ``atoll.capture/1``."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from atoll.host.attribute import text
from atoll.host.capture.collector import Missing
from atoll.host.fact import Known
from atoll.host.tree import Tree

__all__ = ["PATH", "Manifest", "Redaction", "dump", "read_manifest", "to_document"]

PATH = "manifest.json"
_SCHEMA = "atoll.capture/1"
_DEEPEST = 64


@dataclass(frozen=True, slots=True)
class Redaction:
    """One kind of what was replaced."""

    kind: str
    values: int
    """How many different ones."""
    places: int


@dataclass(frozen=True, slots=True)
class Manifest:
    """What was captured, and what was not."""

    atoll: str
    """The version that captured."""
    source: str
    """``live``, a twin's name, or the last part of a record's name."""
    kernel: str | None
    platform: str
    functions: int
    groups: int | None
    sections: tuple[tuple[str, int], ...]
    """Parts of what was captured, with how many files and links each."""
    files: int
    links: int
    content: int
    """Bytes of all files."""
    missing: tuple[Missing, ...]
    limited: tuple[Missing, ...]
    changed: tuple[str, ...]
    """What the capture does not show as the host did a moment before."""
    redactions: tuple[Redaction, ...] | None
    """None where nothing was to be replaced."""
    host_name_known: bool | None = None
    """Whether the host's name was known, so that it could be looked for; None without redaction."""
    time: str | None = None
    """When it was taken, where that was asked for."""
    before: dict[str, Any] | None = None
    """The manifest of the capture that this is a capture of."""


def to_document(manifest: Manifest) -> dict[str, Any]:
    """Return the document."""
    document: dict[str, Any] = {
        "schema": _SCHEMA,
        "atoll": manifest.atoll,
        "source": manifest.source,
        "kernel": manifest.kernel,
        "platform": manifest.platform,
        "functions": manifest.functions,
        "groups": manifest.groups,
        "captured": dict(manifest.sections),
        "files": manifest.files,
        "links": manifest.links,
        "bytes": manifest.content,
        "missing": _paths(manifest.missing),
        "limits_hit": _paths(manifest.limited),
        "changed": list(manifest.changed),
        "redactions": None
        if manifest.redactions is None
        else [{"kind": r.kind, "values": r.values, "places": r.places} for r in manifest.redactions],
    }
    if manifest.host_name_known is not None:
        document["host_name_known"] = manifest.host_name_known
    if manifest.time is not None:
        document["time"] = manifest.time
    if manifest.before is not None:
        document["capture_of"] = manifest.before
    return document


def _paths(found: Sequence[Missing]) -> list[dict[str, str]]:
    return [{"path": entry.path, "reason": entry.reason} for entry in found]


def dump(manifest: Manifest) -> bytes:
    """Return the file's text."""
    return (json.dumps(to_document(manifest), indent=1) + "\n").encode()


def read_manifest(tree: Tree) -> dict[str, Any] | None:
    """Return the manifest of a tree that is a capture; None where it is none, or damaged."""
    found = text(tree, PATH)
    if not isinstance(found, Known):
        return None
    try:
        document = json.loads(found.value)
    except (ValueError, RecursionError):
        return None
    if not isinstance(document, dict) or document.get("schema") != _SCHEMA or _too_deep(document):
        return None
    return document


def _too_deep(document: dict[str, Any]) -> bool:
    """Whether it is nested deeper than captures of captures are, and than it could be written again."""
    level: list[Any] = [document]
    for _ in range(_DEEPEST):
        below = (list(value.values()) if isinstance(value, dict) else value for value in level)
        level = [inner for values in below for inner in values if isinstance(inner, dict | list)]
        if not level:
            return False
    return True
