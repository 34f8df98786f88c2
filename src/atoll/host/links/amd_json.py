"""Which of AMD's GPUs XGMI joins, as ``amd-smi topology --json`` and ``rocm-smi --showtopo --json`` print it.

Source of the forms: ROCm ``amdsmi_commands.py`` and its changelog (ROCm 6.2): a list of GPUs with ``gpu``, ``bdf`` and
``links``, of each of which ``gpu``, ``bdf``, ``link_type`` (``SELF``, ``PCIE``, ``XGMI``) and ``bandwidth``. And
``rocm_smi.py`` (``printSysLog``): an object whose ``system`` has ``(Topology) Link type between DRM devices 0 and 1``,
each pair once, and whose ``card0`` has what is printed of one GPU (``PCI Bus`` of ``--showbus``).
"""

from __future__ import annotations

import json
from typing import Any

from atoll.errors import InputError
from atoll.host.links.amd_smi import AmdMatrix, parse_rate
from atoll.host.links.text import MOST_BYTES
from atoll.pci.address import Address

__all__ = ["is_amd_json", "parse_amd_json"]

_MOST = 256
_BETWEEN = b"(Topology) Link type between DRM devices "
_HINT = "record amd-smi topology --json again, or without --json"


def is_amd_json(data: bytes) -> bool:
    """Whether bytes may be such a list, or such an object."""
    start = data.lstrip(b"\xef\xbb\xbf \t\r\n")[:1]
    return (start == b"[" and b'"link_type"' in data and b'"links"' in data) or (start == b"{" and _BETWEEN in data)


def parse_amd_json(data: bytes, *, name: str) -> AmdMatrix:
    """Return what it tells. Raises InputError for what is damaged or too long, or tells of no GPU."""
    try:
        if len(data) > MOST_BYTES:
            raise ValueError("too many bytes")
        told = json.loads(data)
        if isinstance(told, dict):
            return _by_number(told)
        gpus = [(_name(gpu), gpu) for gpu in told[:_MOST]]
        joined = {
            (here, _name(link))
            for here, gpu in gpus
            for link in gpu["links"][:_MOST]
            if link.get("link_type") == "XGMI" and _name(link) != here
        }
        rates = {
            (here, _name(link)): rate
            for here, gpu in gpus
            for link in gpu["links"][:_MOST]
            if (rate := parse_rate(str(link.get("bandwidth"))[:40])) is not None
        }
        places = {here: Address.parse(gpu["bdf"].lower()) for here, gpu in gpus}
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise InputError(f"{name}: no topology of amd-smi that can be read: {str(error)[:100]}", hint=_HINT) from error
    if not gpus or len(places) != len(gpus) or len(set(places.values())) != len(gpus):
        raise InputError(f"{name}: a topology of amd-smi without GPUs, or with one twice", hint=_HINT)
    pairs = frozenset(pair for pair in joined if pair[1] in places)
    return AmdMatrix(tuple(places), pairs, places, {pair: rate for pair, rate in rates.items() if pair in pairs})


def _by_number(told: dict[str, Any]) -> AmdMatrix:
    """Return what rocm-smi tells: of each pair one cell, which counts for both directions."""
    start = _BETWEEN.decode()
    gpus: set[int] = set()
    joined: set[tuple[str, str]] = set()
    for key, value in told["system"].items():
        if not key.startswith(start):
            continue
        numbers = [int(number) for number in key.removeprefix(start).split(" and ")]
        names = [_name({"gpu": number}) for number in numbers]
        gpus.update(numbers)
        if value == "XGMI" and len(set(names)) == 2:
            joined |= {(names[0], names[1]), (names[1], names[0])}
    if not gpus:
        raise ValueError("no GPUs")
    places = {
        f"GPU{number}": Address.parse(card["PCI Bus"].lower())
        for number in sorted(gpus)
        if "PCI Bus" in (card := told.get(f"card{number}", {}))
    }
    if len(set(places.values())) != len(places):
        raise ValueError("two GPUs with one address")
    return AmdMatrix(tuple(f"GPU{number}" for number in sorted(gpus)), frozenset(joined), places)


def _name(gpu: dict[str, Any]) -> str:
    number = gpu["gpu"]
    if isinstance(number, bool) or not isinstance(number, int) or not 0 <= number < _MOST:
        raise ValueError(f"not the number of a GPU: {str(number)[:40]}")
    return f"GPU{number}"
