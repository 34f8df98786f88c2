"""What several records of one machine come to: hosts merged, and what tells of links joined to their functions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from atoll.errors import InputError
from atoll.host.links.interconnect import with_link_records
from atoll.host.model import Function, Host
from atoll.host.records.content import Record
from atoll.host.records.merge.disagreement import DISAGREE
from atoll.host.records.merge.function import BY_NAME
from atoll.host.records.merge.hosts import merge
from atoll.pci.address import Address
from atoll.pci.class_code import BaseClass, DeviceClass

__all__ = ["read_together"]

_MOST_DISPUTED = 3
"""Functions on buses 00 of whose ids records of one machine may disagree: boards have their own there, which stay."""


def read_together(
    records: Sequence[Record], *, read: Host | None = None, uuids: Mapping[str, Address] | None = None
) -> Host:
    """Return the host that records show together with one that was ``read`` from files.

    ``uuids`` are what the driver tells of GPUs (``atoll.host.links.interconnect.driver_uuids``). Raises InputError
    where records tell of links and no record shows the functions that have them, and where they are of two machines.
    """
    told = [(record.name, links) for record in records for links in record.links]
    if len(told) > 1:
        from atoll.host.records.programs.nccl_functions import check_nccl_together

        check_nccl_together(told)
    hosts = [host for host in (read, *(record.host for record in records)) if host is not None]
    if not hosts:
        hosts = _by_links(records)
    if not hosts:
        names = " and ".join(record.name for record in records)
        raise InputError(
            f"{names}: links or names of GPUs, but nothing that shows the PCI functions they belong to",
            hint="name an lspci text or a folder of the same machine as well: --host lspci.txt --host topo.txt",
        )
    texts: dict[str, bytes] = {}
    paths: dict[str, str] = {}
    for record in records:
        for links in record.links:
            name = record.name.rstrip("/").rpartition("/")[2] or record.name
            name = name if name not in texts else f"{name} ({len(texts) + 1})"
            texts[name], paths[name] = links, record.name
    host = merge(hosts)
    _check_one_machine(host)
    if not texts:
        return host
    host = with_link_records(host, texts, uuids=uuids)
    # A record that shows functions and links is one source.
    return replace(host, provenance=tuple(dict.fromkeys(paths.get(source, source) for source in host.provenance)))


def _check_one_machine(host: Host) -> None:
    """Raise InputError where records, or the two outputs in one text, show different boards: no answer is of either.

    A guest has its cards on bus 00, and on s390 each is on the bus 00 of a domain of its own: they come, go and move.
    """
    disputed = [f for f in host.functions.values() if f.address.bus == 0 and f.label.startswith(DISAGREE)]
    found = list(filter(_is_another, disputed))
    if len(found) > _MOST_DISPUTED and any(map(_is_of_board, disputed)):
        said = found[0].label.removeprefix(DISAGREE)
        what = f"of two machines: at {found[0].address} {said}, and so at {len(found) - 1} more functions of bus 00"
        hint = "name the records of one machine alone, or part the text"
        raise InputError(f"{' and '.join(host.provenance)}: {what}", hint=hint)


def _is_another(disputed: Function) -> bool:
    """Whether records show two devices in one place: by ids, or by makers, since names change from list to list."""
    return BY_NAME not in disputed.label or len({vendor for vendor, _ in disputed.all_ids}) > 1


def _is_of_board(function: Function) -> bool:
    """Whether a function is the board's own, a bridge or the SMBus; those of a guest are of its machine's type."""
    return function.base_class == BaseClass.BRIDGE or function.device_class == DeviceClass.SMBUS


def _by_links(records: Sequence[Record]) -> list[Host]:
    """Return what records of links show of functions: weaker than any other record, used where there is no other."""
    from atoll.host.records.programs.nccl_functions import read_nccl_functions

    hosts = []
    for record in records:
        found = [host for text in record.links if (host := read_nccl_functions(text, name=record.name)) is not None]
        if found:
            hosts.append(replace(merge(found), name=found[0].name, provenance=found[0].provenance))
    return hosts
