"""The record that atoll makes of what NVML tells (``atoll.host.nvml``): every link of every GPU, with both ends."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from atoll.errors import InputError
from atoll.host.links.smi import SmiGpu
from atoll.host.links.smi_query import QueriedGpu, fabric_name
from atoll.host.links.text import MOST_BYTES
from atoll.pci.address import Address

__all__ = ["NvmlRecord", "is_nvml", "parse_nvml"]

_SCHEMA = b'"atoll.nvml/'
_MOST_GPUS, _MOST_LINKS = 1024, 256
_MEGABYTE = 1_000_000
_NOWHERE = Address(0, 0, 0, 0)
_HINT = "make it again with this version of atoll"


@dataclass(frozen=True, slots=True)
class NvmlRecord:
    """GPUs as the readers of nvidia-smi's texts give them."""

    remote: tuple[SmiGpu, ...]
    """With where their links lead."""
    status: tuple[SmiGpu, ...]
    """With the rates of their links."""
    queried: tuple[QueriedGpu, ...]
    """With C2C and fabric."""


def is_nvml(data: bytes) -> bool:
    """Whether bytes begin like such a record."""
    return data.lstrip()[:1] == b"{" and _SCHEMA in data[:256]


def parse_nvml(data: bytes, *, name: str) -> NvmlRecord:
    """Return what a record holds. Raises InputError for what is damaged or too long."""
    # Only here: most hosts have no such record.
    import json

    try:
        if len(data) > MOST_BYTES:
            raise ValueError("too many bytes")
        document = json.loads(data)
        gpus = [_checked(gpu) for gpu in document["gpus"][:_MOST_GPUS]]
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise InputError(f"{name}: no record of NVML that can be read: {str(error)[:100]}", hint=_HINT) from error
    return NvmlRecord(tuple(map(_remote, gpus)), tuple(map(_status, gpus)), tuple(map(_queried, gpus)))


def _checked(gpu: dict[str, Any]) -> dict[str, Any]:
    """Return a GPU with its values of the right types. Raises ValueError, TypeError, KeyError, AttributeError."""
    fabric = gpu["fabric"]
    return {
        "index": _number(gpu["index"], 4096),
        "address": Address.parse(gpu["bus_id"]),
        "uuid": str(gpu["uuid"])[:100],
        "c2c": gpu["c2c"] if isinstance(gpu["c2c"], bool) else None,
        "fabric": None if fabric is None else (str(fabric["cluster"])[:100], _number(fabric["clique"], 1 << 32)),
        "instances": None if gpu.get("instances") is None else _number(gpu["instances"], _MOST_GPUS),
        "links": [(_number(link["link"], _MOST_LINKS), link) for link in gpu["links"][:_MOST_LINKS]],
    }


def _number(value: object, most: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < most:
        raise ValueError(f"not a number below {most}: {str(value)[:40]}")
    return value


def _remote(gpu: dict[str, Any]) -> SmiGpu:
    remote: dict[int, tuple[Address, int | None]] = {}
    down, unnamed = [], []
    for number, link in gpu["links"]:
        end = _address(link.get("remote"))
        if number in remote or number in unnamed or number in down or link.get("up") is not True:
            remote.pop(number, None)
            down.append(number)
        elif end is None:
            unnamed.append(number)
        else:
            far = link.get("remote_link")
            remote[number] = end, far if isinstance(far, int) and 0 <= far < _MOST_LINKS else None
    named = dict(sorted(remote.items()))
    return SmiGpu(gpu["index"], gpu["uuid"], gpu["address"], named, tuple(sorted(set(down))), unnamed=tuple(unnamed))


def _status(gpu: dict[str, Any]) -> SmiGpu:
    rates = {
        number: link["megabytes_per_second"] * _MEGABYTE
        for number, link in gpu["links"]
        if link.get("up") is True and _is_rate(link.get("megabytes_per_second"))
    }
    down = tuple(number for number, link in gpu["links"] if link.get("up") is not True)
    return SmiGpu(gpu["index"], gpu["uuid"], gpu["address"], None, down, rates)


def _is_rate(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 < value < 10_000_000


def _queried(gpu: dict[str, Any]) -> QueriedGpu:
    fabric = None if gpu["fabric"] is None else fabric_name(gpu["fabric"][0], str(gpu["fabric"][1]))
    return QueriedGpu(gpu["index"], gpu["address"], gpu["uuid"], "", gpu["c2c"], fabric, "", gpu["instances"])


def _address(text: object) -> Address | None:
    """Return an address; None for none, and for what NVML writes where it cannot name the other side."""
    if not isinstance(text, str) or text.lower().startswith("ffffff"):
        return None
    try:
        address = Address.parse(text)
    except ValueError:
        return None
    return None if address == _NOWHERE else address
