"""Registers behind BARs as a capture keeps them, because a BAR is no file that could be copied.

``records/registers.json`` holds, by function and ``BAR:offset``, the value or why it is not known::

    {"schema": "atoll.registers/1",
     "registers": {"0004:04:00.0": {"0:0xa00148": {"value": "0x00150000"}, "0:0x0": {"unknown": "…"}}}}
"""

from __future__ import annotations

import json
from collections.abc import Mapping

from atoll.errors import InputError
from atoll.host.attribute import text
from atoll.host.fact import Fact, Known, Unknown
from atoll.host.model import Register
from atoll.host.tree import Tree
from atoll.pci.address import Address

__all__ = ["PATH", "read_record", "record"]

PATH = "records/registers.json"
_SCHEMA = "atoll.registers/1"
_HINT = "take it out of the record, or record the host again with atoll capture"


def record(registers: Mapping[tuple[Address, Register], Fact[int]]) -> bytes:
    """Return the record's text."""
    found: dict[str, dict[str, dict[str, str]]] = {}
    for (address, register), fact in sorted(registers.items(), key=lambda item: (item[0][0], *_place(item[0][1]))):
        told = {"value": f"0x{fact.value:08x}"} if isinstance(fact, Known) else {"unknown": fact.reason}
        found.setdefault(str(address), {})[f"{register.bar}:0x{register.offset:x}"] = told
    return (json.dumps({"schema": _SCHEMA, "registers": found}, indent=1, ensure_ascii=False) + "\n").encode()


def _place(register: Register) -> tuple[int, int]:
    return register.bar, register.offset


def read_record(tree: Tree) -> dict[tuple[Address, Register], Fact[int]]:
    """Return what a tree's record tells, nothing where there is none.

    Raises InputError for a record that is not of the form above.
    """
    found = text(tree, PATH)
    if isinstance(found, Unknown):
        return {}
    where = f"{tree.name}: {PATH}"
    try:
        document = json.loads(found.value)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{where}: not JSON: {error}", hint=_HINT) from error
    functions = document.get("registers") if isinstance(document, dict) else None
    if not isinstance(functions, dict) or document.get("schema") != _SCHEMA:
        raise InputError(f"{where}: its schema is not {_SCHEMA}", hint=_HINT)
    registers: dict[tuple[Address, Register], Fact[int]] = {}
    for name, told in functions.items():
        for place, entry in (told if isinstance(told, dict) else {"": None}).items():
            try:
                bar, _, offset = place.partition(":")
                key = Address.parse(name), Register(int(bar, 10), int(offset, 16))
                registers[key] = _fact(entry, place)
            except (ValueError, TypeError) as error:
                raise InputError(f"{where}: {name} {place}: no register with its value", hint=_HINT) from error
    return registers


def _fact(entry: object, place: str) -> Fact[int]:
    if not isinstance(entry, dict):
        raise TypeError(place)
    if isinstance(why := entry.get("unknown"), str):
        return Unknown(why)
    value = int(entry["value"], 16) if isinstance(entry.get("value"), str) else -1
    if not 0 <= value < 0xFFFFFFFF:
        # All ones is what a device that does not answer reads as.
        raise ValueError(place)
    return Known(value, f"{PATH}: {place}")
