"""Which of AMD's GPUs XGMI joins, as ``amd-smi topology --json`` prints it: what its tables tell, by address.

Source of the form: ROCm ``amdsmi_commands.py`` and its changelog (ROCm 6.2): a list of GPUs with ``gpu``, ``bdf`` and
``links``, of each of which ``gpu``, ``bdf``, ``link_type`` (``SELF``, ``PCIE``, ``XGMI``) and ``bandwidth``.
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
_HINT = "record amd-smi topology --json again, or without --json"


def is_amd_json(data: bytes) -> bool:
    """Whether bytes may be such a list."""
    return data.lstrip(b"\xef\xbb\xbf \t\r\n")[:1] == b"[" and b'"link_type"' in data and b'"links"' in data


def parse_amd_json(data: bytes, *, name: str) -> AmdMatrix:
    """Return what a list tells. Raises InputError for what is damaged or too long, or tells of no GPU."""
    try:
        if len(data) > MOST_BYTES:
            raise ValueError("too many bytes")
        gpus = [(_name(gpu), gpu) for gpu in json.loads(data)[:_MOST]]
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


def _name(gpu: dict[str, Any]) -> str:
    number = gpu["gpu"]
    if isinstance(number, bool) or not isinstance(number, int) or not 0 <= number < _MOST:
        raise ValueError(f"not the number of a GPU: {str(number)[:40]}")
    return f"GPU{number}"
