"""A file or a pasted text, whatever it holds: what kind of record it is, is found out from its content."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import reduce
from typing import NamedTuple

from atoll.errors import InputError, SeveralMachines
from atoll.host.model import Host

__all__ = ["Record", "read_record"]

_HINT = (
    "give lspci -vvv, udevadm info -e, virsh nodedev-dumpxml, lstopo's XML, rdma_topo dump, or what nvidia-smi shows"
)
_GROUPS_HINT = 'name them so: {"iommu_groups": {"1": ["0000:01:00.0", "0000:01:00.1"]}}; or give lspci -nnvvv, as root'


class Record(NamedTuple):
    """What a file or a pasted text holds. At least one of both is there."""

    name: str
    host: Host | None
    """The host as far as the record shows functions, groups or a boot; without the links in ``links``."""
    links: tuple[bytes, ...] = ()
    """What in it tells of links or of what GPUs are called: one for each document, and one for the text around them."""


def read_record(data: bytes, *, name: str) -> Record:
    """Return what bytes hold. Raises InputError for what is damaged, too long or of no known kind."""
    # Each reader is imported where it is needed: most runs need one or none.
    from atoll.host.links.xml import is_xml

    if is_xml(data):
        return _begins_as_xml(data, name)
    from atoll.host.records.pasted.embedded import parted

    apart = parted(data, name=name)
    if apart is not None:
        return _parts(*apart, name)
    from atoll.host.records.programs.pvesh_json import with_pvesh_tables
    from atoll.host.records.programs.rdma_dump import is_json

    data = with_pvesh_tables(data)
    if is_json(data):
        return _json(data, name)
    from atoll.host.records.programs.udev import is_udev, read_udev, without_udev

    if is_udev(data):
        from atoll.host.records.programs.umockdev import is_umockdev, read_umockdev

        read = read_umockdev if is_umockdev(data) else read_udev
        return _beside(lambda: Record(name, read(data, name=name)), without_udev(data, name=name), name)
    return _text(data, name)


def _json(data: bytes, name: str) -> Record:
    from atoll.host.links.amd_json import is_amd_json
    from atoll.host.links.nvml import is_nvml
    from atoll.host.records.programs.group_json import group_table, is_ambiguous
    from atoll.host.records.programs.json_strings import text_in_json
    from atoll.host.records.programs.rdma_dump import read_rdma_dump

    if is_nvml(data) or is_amd_json(data):
        return Record(name, None, (data,))
    if _is_json_log(data):
        return _text(group_table(data) or data, name)
    try:
        return Record(name, read_rdma_dump(data, name=name))
    except InputError:
        texts = [text for text in (group_table(data), text_in_json(data)) if text is not None]
        if not texts and is_ambiguous(data):
            why = "JSON that names groups and functions, and leaves open which is in which, or of what kind they are"
            raise InputError(f"{name}: {why}", hint=_GROUPS_HINT) from None
        if not texts:
            raise
        try:
            return _text(b"\n".join(texts), name)
        except SeveralMachines:
            raise
        except InputError:
            pass
        raise


def _is_json_log(data: bytes) -> bool:
    """Whether each line is an object of its own, or the first is: programs in containers log so."""
    import json

    first, _, rest = data.strip().partition(b"\n")
    try:
        return bool(rest) and isinstance(json.loads(first), dict)
    except (ValueError, RecursionError):
        return False


def _beside(read: Callable[[], Record], around: bytes, name: str) -> Record:
    """Return what documents in a text, which are ``read``, and the text around them hold."""
    try:
        inner = read()
    except InputError as damaged:
        try:
            return _text(around, name)
        except SeveralMachines:
            raise
        except InputError:
            raise damaged from None
    try:
        outer = _text(around, name)
    except SeveralMachines:
        raise
    except InputError:
        return inner
    return _joined(inner, outer)


def _text(data: bytes, name: str) -> Record:
    from atoll.host.links.read import is_link_record
    from atoll.host.records.pasted.text import read_text

    links = (data,) if is_link_record(data) else ()
    gpus = _smi_log(data, name)
    try:
        host = read_text(data, name=name)
    except SeveralMachines:
        raise
    except InputError:
        if not links:
            raise
        return Record(name, gpus or _kfd(data, name), links)
    return Record(name, host if gpus is None else _both(host, gpus), links)


def _smi_log(data: bytes, name: str) -> Host | None:
    """Return the GPUs that ``nvidia-smi -q`` shows in a text as a host, None where it shows none."""
    from atoll.host.links.smi_log import may_be_smi_log, parse_smi_log
    from atoll.host.links.text import clean
    from atoll.host.records.programs.smi_gpus import read_smi_gpus

    root = parse_smi_log(clean(data, name=name)) if may_be_smi_log(data) else None
    try:
        return None if root is None else read_smi_gpus(root, name=name)
    except InputError:
        return None


def _joined(one: Record, other: Record) -> Record:
    """Return what two parts of a record tell together."""
    host = _both(other.host, one.host) if one.host is not None and other.host is not None else one.host or other.host
    return Record(one.name, host, (*one.links, *other.links))


def _both(one: Host, other: Host) -> Host:
    """Return what a record tells in two forms."""
    from atoll.host.records.merge.hosts import merge

    return replace(merge([one, other]), name=other.name, provenance=other.provenance)


def _kfd(data: bytes, name: str) -> Host | None:
    """Return the GPUs of a KFD topology as a host, None where a text shows none."""
    from atoll.host.links.kfd_text import is_kfd_text, parse_kfd_text
    from atoll.host.links.text import clean
    from atoll.host.records.programs.kfd_gpus import read_kfd_gpus

    nodes = parse_kfd_text(clean(data, name=name)) if is_kfd_text(data) else ()
    return read_kfd_gpus(nodes, name=name) if any(node.is_gpu for node in nodes) else None


def _begins_as_xml(data: bytes, name: str) -> Record:
    """Return what a document holds; below it others may stand, and text."""
    from atoll.host.records.pasted.embedded import parted

    apart = None if _is_one_document(data, name) else parted(data, name=name)
    return _xml(data, name) if apart is None else _parts(*apart, name)


def _is_one_document(data: bytes, name: str) -> bool:
    from atoll.host.links.xml import parse_xml

    try:
        parse_xml(data, name=name)
    except InputError:
        return False
    return True


def _parts(documents: Sequence[bytes], around: bytes, name: str) -> Record:
    """Return what documents and the text around them hold."""
    return _beside(lambda: reduce(_joined, (_xml(document, name) for document in documents)), around, name)


def _xml(data: bytes, name: str) -> Record:
    """Return what a document holds, or what those of node devices hold, of which each shows one function."""
    from atoll.host.links.read import is_link_record
    from atoll.host.links.xml import parse_series
    from atoll.host.records.programs.nodedev import is_nodedev, read_nodedev

    roots = parse_series(data, name=name)
    if is_nodedev(roots):
        return Record(name, read_nodedev(roots, name=name))
    root = roots[0]
    if root.tag == "topology":
        from atoll.host.records.programs.hwloc_io import read_hwloc

        return Record(name, read_hwloc(root, name=name), (data,) if is_link_record(data) else ())
    if root.tag == "nvidia_smi_log":
        from atoll.host.records.programs.smi_gpus import read_smi_gpus

        return Record(name, read_smi_gpus(root, name=name), (data,))
    if is_link_record(data):
        return Record(name, None, (data,))
    raise InputError(f"{name}: XML of <{root.tag[:40]}>, which tells nothing of a machine's PCI functions", hint=_HINT)
