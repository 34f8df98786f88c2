"""``versions.json``: which packages the lab's parts were made from, with sizes and SHA-256."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

from lab.fetch.apt import Package

__all__ = ["read_versions", "write_bundle"]

SCHEMA = "atoll.lab.versions/1"


def read_versions(cache: Path) -> dict[str, dict[str, object]]:
    """What is recorded, by bundle; empty where nothing was fetched, or the record is damaged."""
    try:
        document = json.loads((cache / "versions.json").read_text())
        bundles = document["bundles"]
    except (FileNotFoundError, ValueError, LookupError, TypeError):
        return {}
    return bundles if isinstance(bundles, dict) else {}


def write_bundle(cache: Path, name: str, packages: list[Package], **more: object) -> None:
    """Record one bundle; the caller holds the cache's lock for ``versions``."""
    bundles: Mapping[str, object] = {
        **read_versions(cache),
        name: {"packages": [asdict(package) for package in packages], **more},
    }
    place = cache / "versions.json"
    new = place.with_suffix(f".{os.getpid()}")
    new.write_text(json.dumps({"schema": SCHEMA, "bundles": dict(sorted(bundles.items()))}, indent=1) + "\n")
    new.replace(place)
