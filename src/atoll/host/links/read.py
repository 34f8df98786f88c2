"""Records about links, whatever they are called: found out by their content, and joined to a host's functions.

A text may hold the output of several commands, one after the other, as people paste them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from atoll.errors import InputError
from atoll.host.links.amd_smi import AmdMatrix, amd_links, may_tell_amd, parse_amd
from atoll.host.links.hwloc import HwlocMatrix, hwloc_gpus, parse_hwloc
from atoll.host.links.hwloc_xgmi import HwlocXgmi, hwloc_xgmi_links, parse_hwloc_xgmi
from atoll.host.links.instances import instance_gaps, parse_instances
from atoll.host.links.kfd import KfdNode, kfd_links
from atoll.host.links.kfd_text import is_kfd_text, parse_kfd_text
from atoll.host.links.matrix import matrix_links
from atoll.host.links.naming import Naming, name_gpus
from atoll.host.links.nccl import NcclGpu, nccl_links, parse_nccl
from atoll.host.links.nvml import is_nvml, parse_nvml
from atoll.host.links.smi import SmiGpu, parse_gpu_list, parse_gpu_query, parse_links
from atoll.host.links.smi_query import QueriedGpu, fabric_links, parse_query
from atoll.host.links.status import status_by_address, status_links
from atoll.host.links.text import clean
from atoll.host.links.topo import TopoMatrix, parse_topo
from atoll.host.links.xml import is_xml, parse_xml
from atoll.host.model import Function, Gap
from atoll.host.nvlink import nvlinks
from atoll.host.told import ToldLinks
from atoll.pci.address import Address

__all__ = ["LinkRecords", "is_link_record", "read_link_records"]

_HINT_WHOLE = "record nvidia-smi topo -m and nvidia-smi -L in one place, with all GPUs"
_MOST_LISTS = 16
_MOST_RECORDS = 64


@dataclass(frozen=True, slots=True)
class LinkRecords:
    """What records tell about links."""

    sources: tuple[ToldLinks, ...] = ()
    """One for each record that tells links; ``atoll.host.told.merge`` joins them with others."""
    used: tuple[str, ...] = ()
    """Names of the records that are about links or GPUs' names, in order."""


@dataclass(slots=True)
class _Text:
    """What one record holds."""

    name: str
    remote: list[tuple[SmiGpu, ...]] = field(default_factory=list)
    """One for each listing of all GPUs: ``-R`` and ``-p`` may stand in one text."""
    status: tuple[SmiGpu, ...] = ()
    matrices: tuple[TopoMatrix, ...] = ()
    known: tuple[SmiGpu, ...] = ()
    """GPUs with what is told of their addresses and UUIDs."""
    queried: tuple[QueriedGpu, ...] = ()
    instances: dict[int, int] = field(default_factory=dict)
    """How many instances GPUs are split in, by index."""
    nccl: tuple[NcclGpu, ...] | None = None
    hwloc: tuple[HwlocMatrix, ...] = ()
    xgmi: HwlocXgmi | None = None
    kfd: tuple[KfdNode, ...] = ()
    amd: tuple[AmdMatrix, ...] = ()
    gaps: list[Gap] = field(default_factory=list)
    teller: str = ""
    """What told all of it, where that is no program with commands of its own."""

    @property
    def is_about_links(self) -> bool:
        told = (
            self.remote,
            self.status,
            self.matrices,
            self.known,
            self.queried,
            self.hwloc,
            self.xgmi,
            self.kfd,
            self.amd,
            self.gaps,
        )
        return self.nccl is not None or any(told)


def is_link_record(data: bytes) -> bool:
    """Whether bytes are a record of links or of what GPUs are called."""
    return _parse("", data).is_about_links


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
    parsed = [record for name, data in texts.items() if (record := _parse(name, data)).is_about_links]
    if len(parsed) > _MOST_RECORDS:
        why = f"{len(parsed)} records of links are more than one machine has"
        return LinkRecords((ToldLinks("records", gaps=(Gap("links", why, "name fewer"),)),))
    known = [gpu for record in parsed for gpu in record.known]
    indices = {gpu.index for gpu in known}

    def naming(gpus: tuple[SmiGpu, ...]) -> Naming:
        return name_gpus(gpus, known, functions, uuids=uuids)

    status: dict[Address, SmiGpu] = {}
    for record in parsed:
        status |= status_by_address(record.status, functions, naming(record.status))
    rates = {(address, number): rate for address, gpu in status.items() for number, rate in gpu.rates.items()}
    switched = frozenset(gpu.address for record in parsed for gpu in record.queried if gpu.fabric)
    sources: list[ToldLinks] = []
    for record in parsed:
        split = {str(gpu.address): gpu.instances for gpu in record.queried if gpu.instances is not None}
        places = naming(tuple(gpu for gpu in record.known if gpu.index in record.instances)).addresses
        split |= {str(places.get(index, f"GPU {index}")): count for index, count in record.instances.items()}
        if split:
            sources.append(ToldLinks(record.name, gaps=tuple(instance_gaps(split))))
        if record.gaps:
            sources.append(ToldLinks(record.name, gaps=tuple(record.gaps)))
        for gpus in record.remote:
            source = _called("nvidia-smi nvlink -R", record)
            sources.append(nvlinks(gpus, functions, naming(gpus), source=source, rates=rates))
        for matrix in record.matrices:
            more = sorted(indices - set(matrix.gpus))
            if more:
                # In a container GPUs are numbered anew, and a matrix has no UUIDs by which to join it.
                why = f"another record shows a GPU {more[0]}, this one does not: its numbers may be others"
                sources.append(ToldLinks(record.name, gaps=(Gap(f"NVLinks in {record.name}", why, _HINT_WHOLE),)))
                continue
            named = naming(tuple(SmiGpu(index) for index in matrix.gpus))
            source = _called("nvidia-smi topo -m", record)
            sources.append(matrix_links(matrix, functions, named, source=source, status=status, switched=switched))
        if record.queried:
            sources.append(fabric_links(record.queried, functions, source=_called("nvidia-smi -q -x", record)))
        if record.nccl is not None:
            sources.append(nccl_links(record.nccl, functions, source=_called("NCCL topology", record)))
        for bandwidths in record.hwloc:
            source = _called("hwloc", record)
            sources.append(nccl_links(hwloc_gpus(bandwidths, functions), functions, source=source))
        if record.xgmi is not None:
            sources += hwloc_xgmi_links(record.xgmi, functions, source=_called("hwloc", record))
        sources += [amd_links(table, functions, source=_called("ROCm's topology", record)) for table in record.amd]
        if record.kfd:
            sources.append(kfd_links(record.kfd, functions, {}, source=_called("KFD topology", record)))
        if record.status:
            source = _called("nvidia-smi nvlink -s", record)
            sources.append(status_links(record.status, functions, naming(record.status), source=source))
    return LinkRecords(tuple(sources), tuple(record.name for record in parsed))


def _named(gpus: tuple[QueriedGpu, ...]) -> tuple[SmiGpu, ...]:
    return tuple(gpu for one in gpus if (gpu := one.smi) is not None)


def _called(what: str, record: _Text) -> str:
    what = record.teller or what
    return f"{what} ({record.name})" if record.name else what


def _parse(name: str, data: bytes) -> _Text:
    record = _Text(name)
    try:
        if is_xml(data):
            root = parse_xml(data, name=name)
            if root.tag == "nvidia_smi_log":
                record.queried = parse_query(root)
                record.known = _named(record.queried)
            elif root.tag == "system" and "version" in root.attributes:
                record.nccl = parse_nccl(root)
            elif root.tag == "topology":
                record.hwloc, record.xgmi = parse_hwloc(root), parse_hwloc_xgmi(root)
            return record
        if is_nvml(data):
            told = parse_nvml(data, name=name)
            record.remote, record.status, record.queried = [told.remote], told.status, told.queried
            record.known = _named(told.queried)
            record.teller = "NVML"
            return record
        if is_kfd_text(data):
            record.kfd = parse_kfd_text(clean(data, name=name))
        if may_tell_amd(data):
            record.amd = parse_amd(clean(data, name=name))
        if not _may_tell(data):
            return record
        _read_text(record, clean(data, name=name))
    except InputError as error:
        record = _Text(name)
        record.gaps.append(Gap(f"links in {name}", error.message, error.hint))
    return record


def _read_text(record: _Text, text: str) -> None:
    sections = parse_links(text)
    shown = [gpu for gpu in sections if gpu.remote or gpu.rates or gpu.down or gpu.unnamed]
    with_ends = any(gpu.remote or gpu.unnamed for gpu in shown)
    record.status = tuple(gpu for gpu in shown if gpu.rates or not with_ends)
    if with_ends:
        indices = {gpu.index for gpu in shown}
        silent = {gpu.index: gpu for gpu in sections if gpu.index not in indices}
        record.remote = _listings([*(gpu for gpu in shown if not gpu.rates), *silent.values()])
    record.matrices = parse_topo(text)
    _few(record.matrices)
    named = (*parse_gpu_query(text), *parse_gpu_list(text))
    record.instances = parse_instances(text)
    record.known = tuple({(gpu.index, gpu.uuid, gpu.address): gpu for gpu in named}.values())


def _listings(gpus: list[SmiGpu]) -> list[tuple[SmiGpu, ...]]:
    """GPUs in lists that name each one once. Raises InputError for more lists than anybody pastes."""
    lists: list[dict[int, SmiGpu]] = []
    for gpu in gpus:
        place = next((found for found in lists if gpu.index not in found), None)
        if place is None:
            place = {}
            lists.append(place)
            _few(lists)
        place[gpu.index] = gpu
    return [tuple(found.values()) for found in lists]


def _few(found: Sequence[object]) -> None:
    if len(found) > _MOST_LISTS:
        raise InputError(f"more than {_MOST_LISTS} lists of links in one text", hint="cut it")


def _may_tell(data: bytes) -> bool:
    """Whether a text has any of the words that a record of links has: large records of other kinds are left alone."""
    return any(word in data for word in (b"GPU", b"pci.bus_id", b"G\0P\0U"))
