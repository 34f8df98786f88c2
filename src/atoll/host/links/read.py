"""Records about links joined to a host's functions: which GPU is which function, and what each record tells of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from atoll.host.gap import Gap
from atoll.host.links.amd_smi import amd_links
from atoll.host.links.c2c import c2c_links
from atoll.host.links.hwloc import hwloc_gpus
from atoll.host.links.hwloc_xgmi import hwloc_xgmi_links
from atoll.host.links.instances import instance_gaps
from atoll.host.links.kfd import kfd_links
from atoll.host.links.matrix import matrix_links
from atoll.host.links.naming import Naming, name_gpus
from atoll.host.links.nccl import nccl_links
from atoll.host.links.nvlink import nvlinks
from atoll.host.links.record import LinkRecord, parse_record
from atoll.host.links.smi import SmiGpu
from atoll.host.links.smi_query import fabric_links
from atoll.host.links.status import status_by_address, status_links, united
from atoll.host.links.told import ToldLinks
from atoll.host.links.topo import TopoMatrix
from atoll.host.links.xgmi_log import hive_links
from atoll.host.model import Function
from atoll.pci.address import Address

__all__ = ["LinkRecords", "is_link_record", "read_link_records"]

_HINT_WHOLE = "record nvidia-smi topo -m and nvidia-smi -L in one place, with all GPUs"
_MOST_RECORDS = 64


@dataclass(frozen=True, slots=True)
class LinkRecords:
    """What records tell about links."""

    sources: tuple[ToldLinks, ...] = ()
    """One for each record that tells links; ``atoll.host.links.told.merge`` joins them with others."""
    used: tuple[str, ...] = ()
    """Names of the records that are about links or GPUs' names, in order."""


def is_link_record(data: bytes) -> bool:
    """Whether bytes are a record of links or of what GPUs are called."""
    return parse_record("", data).is_about_links


def read_link_records(
    texts: Mapping[str, bytes],
    functions: Mapping[Address, Function],
    *,
    uuids: Mapping[str, Address] | None = None,
) -> LinkRecords:
    """Return what records tell of the links of a host's functions; ``texts`` holds their bytes by name.

    ``uuids`` holds what the driver itself tells (``proc/driver/nvidia``). Records of other things are passed over.
    A record that is damaged is a gap, never an error.
    """
    parsed = [record for name, data in texts.items() if (record := parse_record(name, data)).is_about_links]
    if len(parsed) > _MOST_RECORDS:
        why = f"{len(parsed)} records of links are more than one machine has"
        return LinkRecords((ToldLinks("records", gaps=(Gap("links", why, "name fewer"),)),))
    joined = _Joined(parsed, functions, uuids)
    sources = tuple(source for record in parsed for source in joined.sources(record))
    return LinkRecords(sources, tuple(record.name for record in parsed))


class _Joined:
    """All records of one machine: what some of them tell is needed to read the others."""

    def __init__(
        self,
        records: Sequence[LinkRecord],
        functions: Mapping[Address, Function],
        uuids: Mapping[str, Address] | None,
    ) -> None:
        self._functions = functions
        self._uuids = uuids
        self._known = [gpu for record in records for gpu in record.known]
        self._indices = {gpu.index for gpu in self._known}
        self._status: dict[Address, SmiGpu] = {}
        for record in records:
            for address, gpu in status_by_address(record.status, functions, self._naming(record.status)).items():
                self._status[address] = united(self._status.get(address, gpu), gpu)
        self._rates = {
            (address, number): rate for address, gpu in self._status.items() for number, rate in gpu.rates.items()
        }
        self._switched = frozenset(
            gpu.address for record in records for gpu in record.queried if gpu.fabric is not None
        )

    def sources(self, record: LinkRecord) -> Iterator[ToldLinks]:
        """Yield what a record tells, each of its listings by itself."""
        if split := self._instances(record):
            yield ToldLinks(record.name, gaps=tuple(instance_gaps(split)))
        if record.gaps:
            yield ToldLinks(record.name, gaps=tuple(record.gaps))
        yield from self._of_nvidia(record)
        if record.nccl is not None:
            yield nccl_links(record.nccl, self._functions, source=_called("NCCL topology", record))
        for bandwidths in record.hwloc:
            gpus = hwloc_gpus(bandwidths, self._functions)
            yield nccl_links(gpus, self._functions, source=_called("hwloc", record))
        if record.xgmi is not None:
            yield from hwloc_xgmi_links(record.xgmi, self._functions, source=_called("hwloc", record))
        for table in record.amd:
            yield amd_links(table, self._functions, source=_called("ROCm's topology", record))
        if record.hives:
            yield hive_links(record.hives, self._functions, source=_called("boot log", record))
        if record.kfd:
            yield kfd_links(record.kfd, self._functions, {}, source=_called("KFD topology", record))

    def _of_nvidia(self, record: LinkRecord) -> Iterator[ToldLinks]:
        functions = self._functions
        for gpus in record.remote:
            source = _called(f"nvidia-smi nvlink {_option(gpus)}", record)
            yield nvlinks(gpus, functions, self._naming(gpus), source=source, rates=self._rates)
        for matrix in record.matrices:
            yield self._of_matrix(matrix, record)
        if record.queried:
            yield fabric_links(record.queried, functions, source=_called("nvidia-smi -q", record))
        if record.status:
            source = _called("nvidia-smi nvlink -s", record)
            yield status_links(record.status, functions, self._naming(record.status), source=source)
        if record.c2c:
            source = _called("nvidia-smi c2c -s", record)
            yield c2c_links(record.c2c, functions, self._naming(record.c2c), source=source)

    def _of_matrix(self, matrix: TopoMatrix, record: LinkRecord) -> ToldLinks:
        more = sorted(self._indices - set(matrix.gpus))
        if more:
            # In a container GPUs are numbered anew, and a matrix has no UUIDs by which to join it.
            why = f"another record shows a GPU {more[0]}, this one does not: its numbers may be others"
            return ToldLinks(record.name, gaps=(Gap(f"NVLinks in {record.name}", why, _HINT_WHOLE),))
        named = self._naming(tuple(SmiGpu(index) for index in matrix.gpus))
        source = _called("nvidia-smi topo -m", record)
        return matrix_links(matrix, self._functions, named, source=source, status=self._status, switched=self._switched)

    def _instances(self, record: LinkRecord) -> dict[str, int]:
        """Return how many instances GPUs are split in, by address, or by index where it is not known."""
        split = {str(gpu.address): gpu.instances for gpu in record.queried if gpu.instances is not None}
        places = self._naming(tuple(gpu for gpu in record.known if gpu.index in record.instances)).addresses
        return split | {str(places.get(index, f"GPU {index}")): count for index, count in record.instances.items()}

    def _naming(self, gpus: tuple[SmiGpu, ...]) -> Naming:
        return name_gpus(gpus, self._known, self._functions, uuids=self._uuids)


def _option(gpus: tuple[SmiGpu, ...]) -> str:
    """Return which of two options prints such a listing: -p tells no numbers at the other end."""
    numbers = [number for gpu in gpus for _, number in (gpu.remote or {}).values()]
    return "-p" if numbers and all(number is None for number in numbers) else "-R"


def _called(what: str, record: LinkRecord) -> str:
    what = record.teller or what
    return f"{what} ({record.name})" if record.name else what
