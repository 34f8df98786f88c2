"""``pvesh get /nodes/NODE/hardware/pci --output-format json``: Proxmox VE's list of functions and groups.

Source of the form: PVE ``API2::Hardware::PCI`` (``pciscan``): of each function ``id``, ``class``, ``vendor``,
``device`` in hexadecimal, names, and ``iommugroup``, -1 for none. The same as a table is in ``group_lists.table``.
"""

from __future__ import annotations

import json
import re

from atoll.host.records.lspci.slot import address_in

__all__ = ["pvesh_table", "with_pvesh_tables"]

_MOST = 1 << 24
_MOST_PLACES = 256
"""Of a text where a document may begin: each is tried, and may go on to the text's end."""
_MARK = b'"iommugroup"'
_BEGINS = re.compile(r"(?:^|(?<=[\s>`]))[\[{](?=\s*[{\"])")
_COLUMNS = ("class", "device", "id", "iommugroup", "vendor", "device_name")


def pvesh_table(data: bytes) -> bytes | None:
    """Return the table that pvesh prints of the same, None for JSON of another kind."""
    if len(data) > _MOST or _MARK not in data:
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


def with_pvesh_tables(data: bytes) -> bytes:
    """Return a text with pvesh's JSON in it replaced by the table that pvesh prints of the same."""
    if len(data) > _MOST or _MARK not in data:
        return data
    text = data.decode("utf-8", errors="replace")
    parts: list[str] = []
    decoder, end = json.JSONDecoder(), 0
    for tried, found in enumerate(_BEGINS.finditer(text)):
        if tried == _MOST_PLACES:
            break
        if found.start() < end:
            continue
        try:
            stop = decoder.raw_decode(text, found.start())[1]
        except (ValueError, RecursionError):
            continue
        table = pvesh_table(text[found.start() : stop].encode())
        if table is not None:
            parts += [text[end : found.start()], "\n", table.decode(), "\n"]
            end = stop
    return "".join((*parts, text[end:])).encode() if parts else data


def _cell(value: object) -> str:
    text = str(value) if isinstance(value, str | int) and not isinstance(value, bool) else ""
    return " ".join(text.replace("|", " ").split())[:200]
