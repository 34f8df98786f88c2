"""Links that nvidia-smi counts instead of naming them: the numbers that a listing means.

``nvlink -R`` of some drivers (seen with 555.42, on boards with twelve of eighteen links up) leaves out links that are
down and counts the others from 0, at this end alone: ``Link 4: Remote Device …: Link 6`` stands on both GPUs of a pair
whose links 6 are joined. The numbers at the other end, and those of ``nvlink -s``, are the links' own.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace

from atoll.host.links.smi import SmiGpu
from atoll.pci.address import Address

__all__ = ["with_own_numbers"]


def with_own_numbers(tables: Mapping[Address, SmiGpu], up: Collection[tuple[Address, int]]) -> Mapping[Address, SmiGpu]:
    """Return what is listed of each GPU, by the links' own numbers where it only counts them.

    ``up`` holds the links of which ``nvlink -s`` shows a rate. Nothing changes unless, by the new numbers, each link
    between two GPUs leads back to where it came from.
    """
    own = {address: numbers for address, gpu in tables.items() if (numbers := _own(address, gpu, tables, up))}
    if not own:
        return tables
    found = {address: _renumbered(gpu, own[address]) if address in own else gpu for address, gpu in tables.items()}
    return found if all(_leads_back(address, gpu, found) for address, gpu in found.items()) else tables


def _own(
    address: Address, gpu: SmiGpu, tables: Mapping[Address, SmiGpu], up: Collection[tuple[Address, int]]
) -> list[int]:
    """The numbers of a GPU's links in order; empty where it does not count them, or nothing tells these numbers."""
    remote = gpu.remote or {}
    counted = sorted((*remote, *gpu.unnamed))
    if gpu.down or counted != list(range(len(counted))):
        return []
    ends = [end for other in tables.values() for end in (other.remote or {}).values()]
    called = {number for far, number in ends if far == address and number is not None}
    lit = {number for function, number in up if function == address}
    told = [numbers for numbers in (called, lit) if len(numbers) == len(counted)]
    if not told or told.count(told[0]) != len(told):
        return []
    return sorted(told[0])


def _renumbered(gpu: SmiGpu, own: list[int]) -> SmiGpu:
    remote = {own[number]: end for number, end in (gpu.remote or {}).items()}
    return replace(gpu, remote=remote, unnamed=tuple(own[number] for number in gpu.unnamed))


def _leads_back(address: Address, gpu: SmiGpu, tables: Mapping[Address, SmiGpu]) -> bool:
    return all(
        (tables[far].remote or {}).get(far_number) == (address, number)
        for number, (far, far_number) in (gpu.remote or {}).items()
        if far in tables and far_number is not None
    )
