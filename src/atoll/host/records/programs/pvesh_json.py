"""``pvesh get /nodes/NODE/hardware/pci --output-format json``: Proxmox VE's list of functions and groups.

Source of the form: PVE ``API2::Hardware::PCI`` (``pciscan``): of each function ``id``, ``class``, ``vendor``,
``device`` in hexadecimal, names, and ``iommugroup``, -1 for none. The same as a table is in ``group_table``.
"""

from __future__ import annotations

import json

from atoll.host.records.lspci.slot import address_in

__all__ = ["pvesh_table"]

_MOST = 1 << 24
_COLUMNS = ("class", "device", "id", "iommugroup", "vendor", "device_name")


def pvesh_table(data: bytes) -> bytes | None:
    """Return the table that pvesh prints of the same, None for JSON of another kind."""
    if len(data) > _MOST or b'"iommugroup"' not in data:
        return None
    try:
        found = json.loads(data)
    except (ValueError, RecursionError):
        return None
    items = found.get("data") if isinstance(found, dict) else found
    if not isinstance(items, list):
        return None
    rows = [
        [_cell(item.get(column)) for column in _COLUMNS]
        for item in items
        if isinstance(item, dict) and address_in(_cell(item.get("id"))) is not None
    ]
    lines = [f"| {' | '.join(row)} |" for row in (list(_COLUMNS), *rows)]
    return "\n".join(lines).encode() if rows else None


def _cell(value: object) -> str:
    text = str(value) if isinstance(value, str | int) and not isinstance(value, bool) else ""
    return " ".join(text.replace("|", " ").split())[:200]
