"""Selectors: what names functions in a cluster file and on the command line.

::

    0004:04:00.0      one function by its address (04:00.0 in domain 0)
    10de:1db1         every function with this vendor and device id
    gpu[0]            the first GPU of the host, in address order
    gpu[0:2]          the first two; either number can be left out: gpu[:] is all of them

A *GPU* is a physical function of NVIDIA, AMD or Intel with the class of a VGA controller (0300), a 3D controller
(0302) or another display controller (0380), or a processing accelerator (1200) of AMD, as MI300 calls itself.
The display chips of management controllers are none. The numbering is that of the addresses and does not depend
on drivers. Class codes: PCI Code and ID Assignment Specification 1.15, 1.4 and 1.19.
"""

from __future__ import annotations

from collections.abc import Sequence

from atoll.errors import InputError
from atoll.host.groups import only_grouped
from atoll.host.model import Function, Host
from atoll.pci.address import Address
from atoll.pci.class_code import DeviceClass
from atoll.pci.vendor import ATI, INTEL, NVIDIA

__all__ = ["counts", "gpus", "matching", "resolve"]

_DISPLAYS_OF = (NVIDIA, ATI, INTEL)
_MAKERS = {
    DeviceClass.VGA: _DISPLAYS_OF,
    DeviceClass.DISPLAY_3D: _DISPLAYS_OF,
    DeviceClass.OTHER_DISPLAY: _DISPLAYS_OF,
    DeviceClass.ACCELERATOR: (ATI,),
}
"""Whose devices of a class are GPUs."""
_HEX = frozenset("0123456789abcdefABCDEF")


def gpus(host: Host) -> tuple[Address, ...]:
    """Return the host's GPUs in address order: what is one for sure."""
    return tuple(sorted(address for address, function in host.functions.items() if _is_gpu(function)))


def _is_gpu(function: Function) -> bool | None:
    """Whether a function is a GPU; None where the record lacks what tells."""
    makers = _MAKERS.get(function.device_class, ()) if function.class_told else _DISPLAYS_OF
    if function.physical_function is not None or not makers:
        return False
    if function.class_told and function.made_by(*makers):
        return True
    return None if any(vendor is None or vendor in makers for vendor, _ in function.all_ids) else False


def counts(text: str) -> bool:
    """Whether what a selector names depends on what there is: it gives no address."""
    return _ids(text) is not None or (text.startswith("gpu[") and text.endswith("]"))


def resolve(text: str, host: Host) -> tuple[Address, ...]:
    """Return the functions that a selector names, in address order.

    Raises InputError for a malformed selector, for one that matches nothing, and for ports.
    """
    found = matching(text, host) if counts(text) else (_address(text, host),)
    for address in found:
        if host.functions[address].is_port:
            raise InputError(
                f"{text!r} names the port {address}: ports are infrastructure and belong to no cluster",
                hint="name the functions below it",
            )
    return found


def matching(text: str, host: Host) -> tuple[Address, ...]:
    """Return the functions that ids or a number of GPUs name, ports too, in address order.

    Raises InputError for a malformed selector, for one that matches nothing, and where the record leaves open what
    it matches.
    """
    ids = _ids(text)
    if ids is None:
        doubtful = [address for address, function in host.functions.items() if _is_gpu(function) is None]
        _refuse_doubtful(text, doubtful)
        return tuple(sorted(_slice(text, gpus(host))))
    _refuse_doubtful(text, [address for address, function in host.functions.items() if _may_have(ids, function)])
    found = sorted(a for a, function in host.functions.items() if (function.vendor, function.device) == ids)
    if not found:
        raise InputError(f"{text!r} matches no function of this host", hint="atoll show -v lists the ids")
    return tuple(found)


def _refuse_doubtful(text: str, doubtful: Sequence[Address]) -> None:
    """A selector that may name more than it seems to would leave a device with the host, or name another."""
    if doubtful:
        raise InputError(
            f"which functions {text!r} names is not known: the record does not show what {min(doubtful)} is",
            hint="give addresses instead, or a record with ids: lspci -nnvvv",
        )


def _may_have(ids: tuple[int, int], function: Function) -> bool:
    """Whether the record leaves open whether a function has these ids."""
    return any(
        all(known in (None, asked) for known, asked in zip(pair, ids, strict=True)) for pair in function.possible_ids
    )


def _ids(text: str) -> tuple[int, int] | None:
    vendor, colon, device = text.partition(":")
    if colon and len(vendor) == len(device) == 4 and _HEX.issuperset(vendor + device):
        return int(vendor, 16), int(device, 16)
    return None


def _slice(text: str, found: tuple[Address, ...]) -> list[Address]:
    first, colon, last = text.removeprefix("gpu[").removesuffix("]").partition(":")
    start = _number(first, 0 if colon else None)
    end = _number(last, len(found)) if colon else (None if start is None else start + 1)
    if start is None or end is None:
        raise InputError(f"{text!r} is no selector of GPUs", hint="write gpu[N], gpu[N:M] or gpu[:], counting from 0")
    if end > len(found) or start >= end:
        there = f"has {len(found)} GPUs" if len(found) != 1 else "has one GPU, gpu[0]"
        beyond = "names GPUs that are not there" if start < min(end, len(found)) else "matches nothing"
        raise InputError(
            f"{text!r} {beyond}: this host {there}",
            hint="gpu[0] is the first; atoll show lists them" if found else "atoll show lists the functions",
        )
    return list(found[start:end])


def _number(text: str, absent: int | None) -> int | None:
    """Return the number that a text spells, ``absent`` for none, None for what is no number."""
    if not text:
        return absent
    return int(text) if text.isascii() and text.isdigit() and len(text) < 6 else None


def _address(text: str, host: Host) -> Address:
    try:
        address = Address.parse(text)
    except ValueError:
        number = text.lower().removeprefix("gpu").strip("[] ")
        meant = text.lower().startswith("gpu") and _number(number, None) is not None
        raise InputError(
            f"{text!r} is no selector",
            hint=f"did you mean gpu[{number}]?"
            if meant
            else 'write an address (0004:04:00.0), ids ("10de:1db1") or GPUs by number (gpu[0:2])',
        ) from None
    if address not in host.functions:
        grouped = only_grouped(host, address)
        if grouped:
            hint = "give lspci -nnvvv, run as root, beside it: --host LIST --host LSPCI"
            raise InputError(f"of {address} this host shows {grouped}", hint=hint)
        near = [
            str(other) for other in host.functions if other[1:] == address[1:] and not host.functions[other].is_port
        ]
        hint = f"did you mean {near[0]}?" if near else "atoll show lists the functions"
        raise InputError(f"no function {address} on this host", hint=hint)
    return address
