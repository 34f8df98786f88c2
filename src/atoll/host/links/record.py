"""One record about links, whatever it is called: what it holds, found out by its content.

A text may hold the output of several commands, one after the other, as people paste them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from atoll.errors import InputError
from atoll.host.gap import Gap
from atoll.host.links.amd_json import is_amd_json, parse_amd_json
from atoll.host.links.amd_smi import AmdMatrix, may_tell_amd, parse_amd
from atoll.host.links.hwloc import HwlocMatrix, parse_hwloc
from atoll.host.links.hwloc_xgmi import HwlocXgmi, parse_hwloc_xgmi
from atoll.host.links.instances import parse_instances
from atoll.host.links.kfd import KfdNode
from atoll.host.links.kfd_text import is_kfd_text, parse_kfd_text
from atoll.host.links.nccl import NcclGpu, parse_nccl
from atoll.host.links.nvml import is_nvml, parse_nvml
from atoll.host.links.smi import SmiGpu, parse_c2c, parse_gpu_list, parse_gpu_query, parse_gpu_table, parse_links
from atoll.host.links.smi_log import parse_smi_log
from atoll.host.links.smi_query import QueriedGpu, parse_query
from atoll.host.links.text import clean
from atoll.host.links.topo import TopoMatrix, parse_topo
from atoll.host.links.xgmi_log import may_tell_hives, parse_hives
from atoll.host.links.xml import is_xml, parse_xml
from atoll.pci.address import Address

__all__ = ["LinkRecord", "parse_record"]

_MOST_LISTS = 16


@dataclass(slots=True)
class LinkRecord:
    """What one record holds."""

    name: str
    remote: list[tuple[SmiGpu, ...]] = field(default_factory=list)
    """One for each listing of all GPUs: ``-R`` and ``-p`` may stand in one text."""
    status: tuple[SmiGpu, ...] = ()
    c2c: tuple[SmiGpu, ...] = ()
    """GPUs with the rates of C2C links."""
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
    hives: Mapping[int, tuple[Address, ...]] = field(default_factory=dict)
    """Members of XGMI hives that a boot log names."""
    gaps: list[Gap] = field(default_factory=list)
    teller: str = ""
    """What told all of it, where that is no program with commands of its own."""

    @property
    def is_about_links(self) -> bool:
        """Whether it tells of links, or of what GPUs are called."""
        of_nvidia = self.remote or self.status or self.c2c or self.matrices or self.known or self.queried
        of_others = self.hwloc or self.xgmi or self.kfd or self.amd or self.hives
        return bool(of_nvidia or of_others or self.gaps) or self.nccl is not None


def _named(gpus: tuple[QueriedGpu, ...]) -> tuple[SmiGpu, ...]:
    return tuple(gpu for one in gpus if (gpu := one.smi) is not None)


def parse_record(name: str, data: bytes) -> LinkRecord:
    """Return what a record holds of links and of GPUs' names; of one that is damaged, a gap."""
    record = LinkRecord(name)
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
        if is_amd_json(data):
            record.amd = (parse_amd_json(data, name=name),)
            return record
        if is_kfd_text(data):
            record.kfd = parse_kfd_text(clean(data, name=name))
        if may_tell_amd(data):
            record.amd = parse_amd(clean(data, name=name))
        if may_tell_hives(data):
            record.hives = parse_hives(clean(data, name=name))
        if not _may_tell(data):
            return record
        _read_text(record, clean(data, name=name))
    except InputError as error:
        record = LinkRecord(name)
        record.gaps.append(Gap(f"links in {name}", error.message, error.hint))
    return record


def _read_text(record: LinkRecord, text: str) -> None:
    sections = parse_links(text)
    shown = [gpu for gpu in sections if gpu.remote or gpu.rates or gpu.down or gpu.unnamed]
    with_ends = any(gpu.remote or gpu.unnamed for gpu in shown)
    indices = {gpu.index for gpu in shown}
    # Named without a link: it has none, or all are down. Its number counts when GPUs are told apart by their order.
    silent = {gpu.index: gpu for gpu in sections if gpu.index not in indices}.values() if shown else ()
    rated = tuple(gpu for gpu in shown if gpu.rates or not with_ends)
    record.status = (*rated, *silent) if rated else ()
    if with_ends:
        record.remote = _listings([*(gpu for gpu in shown if not gpu.rates), *silent])
    record.c2c = parse_c2c(text)
    record.matrices = parse_topo(text)
    _few(record.matrices)
    log = parse_smi_log(text)
    if log is not None:
        record.queried = parse_query(log)
    named = (*parse_gpu_query(text), *parse_gpu_list(text), *parse_gpu_table(text), *_named(record.queried))
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
