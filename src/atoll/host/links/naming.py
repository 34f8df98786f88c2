"""Which function a GPU is that nvidia-smi calls by its index."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from atoll.host.links.gpus import nvidia_gpus
from atoll.host.links.smi import SmiGpu
from atoll.host.model import Function
from atoll.pci.address import Address

__all__ = ["Naming", "name_gpus"]


@dataclass(frozen=True, slots=True)
class Naming:
    """Addresses by index."""

    addresses: Mapping[int, Address] = field(default_factory=dict)
    by_order: bool = False
    """No record tells them: they are the host's GPUs in PCI order, as nvidia-smi numbers them."""
    disputed: bool = False
    """None is told, for records tell several for one index, or those of other GPUs."""

    def mark(self, source: str) -> str:
        """Return what to call a source that was joined by this naming."""
        return f"{source}, addresses by PCI order" if self.by_order else source


def name_gpus(
    gpus: Iterable[SmiGpu],
    known: Sequence[SmiGpu],
    functions: Mapping[Address, Function],
    *,
    uuids: Mapping[str, Address] | None,
) -> Naming:
    """Return the addresses of GPUs that a text calls by their index.

    ``known`` are the GPUs of other texts (an address by index or UUID, a UUID by index), ``uuids`` the addresses
    that the driver tells by UUID. A UUID that is told beats an index. Where nothing tells any address, and the host
    has as many NVIDIA GPUs as the text, they are taken in PCI order: nvidia-smi's man page, "natural enumeration".
    """
    wanted = {gpu.index: gpu for gpu in gpus}
    by_uuid = _only_one(
        [*(uuids or {}).items(), *((gpu.uuid, gpu.address) for gpu in known if gpu.uuid and gpu.address)]
    )
    by_index: dict[int, list[SmiGpu]] = {}
    for gpu in known:
        by_index.setdefault(gpu.index, []).append(gpu)
    found: dict[int, Address] = {}
    for index, gpu in wanted.items():
        same = by_index.get(index, [])
        uuid = gpu.uuid or next((other.uuid for other in same if other.uuid), "")
        address = by_uuid.get(uuid) or _by_index(uuid, same)
        if address is not None and address not in found.values():
            found[index] = address
    if found or not wanted:
        return Naming(found)
    if any(gpu.address is not None for gpu in known if gpu.index in wanted):
        return Naming(disputed=True)
    there = nvidia_gpus(functions)
    if sorted(wanted) != list(range(len(there))):
        return Naming()
    return Naming(dict(enumerate(there)), by_order=True)


def _only_one(pairs: Sequence[tuple[str, Address | None]]) -> dict[str, Address]:
    """Addresses of the UUIDs that have one: records made anonymous give all GPUs the same."""
    found: dict[str, Address | None] = {}
    for uuid, address in pairs:
        found[uuid] = address if found.get(uuid, address) == address else None
    return {uuid: address for uuid, address in found.items() if address is not None}


def _by_index(uuid: str, same: Sequence[SmiGpu]) -> Address | None:
    addresses = {
        gpu.address for gpu in same if gpu.address and not (_is_uuid(uuid) and _is_uuid(gpu.uuid) and gpu.uuid != uuid)
    }
    return addresses.pop() if len(addresses) == 1 else None


def _is_uuid(text: str) -> bool:
    return text.startswith("GPU-")
