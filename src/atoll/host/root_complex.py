"""How root complexes route between their root ports: a fact of the platform, where anything tells it.

``records/root-complex.json`` is how a person who knows (from the vendor's manual, or from a test) tells::

    {"schema": "atoll.root-complex/1", "source": "…", "host_bridges": {"pci0000:00": "translated"}}
"""

from __future__ import annotations

import json
from collections.abc import Iterable

from atoll.errors import InputError
from atoll.host.attribute import text
from atoll.host.fact import Fact, Known, Unknown
from atoll.host.model import Platform, RootRouting
from atoll.host.tree import Tree

__all__ = ["read_root_routing"]

_PATH = "records/root-complex.json"
_SCHEMA = "atoll.root-complex/1"
_POWERNV = "PowerNV: host bridges translate every inbound request by partitionable endpoint"


def read_root_routing(tree: Tree, platform: Platform, host_bridges: Iterable[str]) -> dict[str, Fact[RootRouting]]:
    """Return what is known, by host bridge. Raises InputError for a record that is not of the form above."""
    if platform is Platform.POWERNV:
        return {bridge: Known(RootRouting.TRANSLATED, _POWERNV) for bridge in sorted(set(host_bridges))}
    found = text(tree, _PATH)
    if isinstance(found, Unknown):
        return {}
    where = f"{tree.name}: {_PATH}"
    hint = f'write {{"schema": "{_SCHEMA}", "source": "…", "host_bridges": {{"pci0000:00": "translated"}}}}'
    try:
        record = json.loads(found.value)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{where}: not JSON: {error}", hint=hint) from error
    if not isinstance(record, dict) or record.get("schema") != _SCHEMA:
        raise InputError(f"{where}: its schema is not {_SCHEMA}", hint=hint)
    source, told = record.get("source"), record.get("host_bridges")
    if not isinstance(source, str) or not source.strip() or not isinstance(told, dict):
        raise InputError(f"{where}: it needs a source (how this is known) and host_bridges", hint=hint)
    routing: dict[str, Fact[RootRouting]] = {}
    for bridge, word in sorted(told.items()):
        if word not in tuple(RootRouting):
            raise InputError(f"{where}: {bridge}: {word!r} is none of {', '.join(RootRouting)}", hint=hint)
        routing[bridge] = Known(RootRouting(word), f"{_PATH}: {source}")
    return routing
