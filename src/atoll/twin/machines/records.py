"""Records beside a twin's kernel files: what its root complexes do, and what vendor tools would print."""

from __future__ import annotations

import json

from atoll.twin.spec import HostBridge

__all__ = ["root_complex"]


def root_complex(bridges: tuple[HostBridge, ...], source: str) -> tuple[str, bytes]:
    """Return the record that declares how root complexes route between their root ports."""
    document = {
        "schema": "atoll.root-complex/1",
        "source": source,
        "host_bridges": {bridge.name: str(bridge.routing) for bridge in bridges},
    }
    return "records/root-complex.json", (json.dumps(document, indent=1) + "\n").encode()
