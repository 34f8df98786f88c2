"""NVLinks as ``nvidia-smi nvlink -R`` prints them, joined to the functions of a host.

Source of the form: the output of the program itself (NVIDIA driver 535; NVML's
``nvmlDeviceGetNvLinkRemotePciInfo`` says what a remote device is: a GPU, an NVSwitch or an IBM NPU)::

    GPU 0: NVIDIA H100 80GB HBM3 (UUID: GPU-…)
             Link 0: Remote Device 00000000:07:00.0: Link 46
             Link 1: <inactive>

A link that is not up does not say where it leads, and it can come up again: then not all links are told.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from atoll.host.model import EndKind, Function, Gap, Link, LinkEnd, LinkKind
from atoll.host.speed import nvlink_speed
from atoll.host.told import ToldLinks, in_order
from atoll.pci.address import Address

__all__ = ["SmiGpu", "nvlinks", "parse_gpu_list", "parse_gpu_query", "parse_remote_links"]

_NVIDIA, _IBM = 0x10DE, 0x1014
_INDEX_AT_MOST = 4096


@dataclass(frozen=True, slots=True)
class SmiGpu:
    """One GPU as nvidia-smi prints it."""

    index: int
    uuid: str = ""
    """Empty where the text does not show it."""
    address: Address | None = None
    remote: Mapping[int, tuple[Address, int]] | None = None
    """By link number: the remote device and its link number. None where the text is not about links."""
    down: tuple[int, ...] = ()
    """Links that show no remote device."""


def parse_remote_links(text: str) -> tuple[SmiGpu, ...]:
    """Return the GPUs of ``nvidia-smi nvlink -R``. Lines of another form are passed over."""
    gpus: list[SmiGpu] = []
    remote: dict[int, tuple[Address, int]] = {}
    down: list[int] = []
    for line in text.splitlines():
        header = _header(line)
        if header is not None:
            remote, down = {}, []
            gpus.append(header)
        number, colon, rest = line.strip().removeprefix("Link ").partition(":")
        if header is not None or not line.strip().startswith("Link ") or not colon or not gpus:
            continue
        at = _small(number)
        if at is None:
            continue
        end = _remote(rest)
        if end is None or at in remote:
            down.append(at)
        else:
            remote[at] = end
        gpus[-1] = SmiGpu(gpus[-1].index, gpus[-1].uuid, None, dict(sorted(remote.items())), tuple(down))
    return tuple(gpus)


def parse_gpu_list(text: str) -> tuple[SmiGpu, ...]:
    """Return the GPUs of ``nvidia-smi -L``: index and UUID."""
    return tuple(gpu for line in text.splitlines() if (gpu := _header(line)) is not None)


def parse_gpu_query(text: str) -> tuple[SmiGpu, ...]:
    """Return the GPUs of ``nvidia-smi --query-gpu=index,pci.bus_id,uuid --format=csv``; the header tells columns."""
    lines = [[cell.strip() for cell in line.split(",")] for line in text.splitlines() if line.strip()]
    if not lines:
        return ()
    columns = lines[0]
    gpus = []
    for line in lines[1:]:
        cells = dict(zip(columns, line, strict=False))
        index, address = _small(cells.get("index", "")), _address(cells.get("pci.bus_id", ""))
        if index is not None and address is not None:
            gpus.append(SmiGpu(index, cells.get("uuid", ""), address))
    return tuple(gpus)


def _header(line: str) -> SmiGpu | None:
    head, colon, rest = line.strip().partition(":")
    index = _small(head.removeprefix("GPU ")) if head.startswith("GPU ") and colon else None
    if index is None:
        return None
    return SmiGpu(index, rest.partition("(UUID:")[2].strip().removesuffix(")").strip())


def _remote(text: str) -> tuple[Address, int] | None:
    words = text.split()
    if len(words) != 5 or words[:2] != ["Remote", "Device"] or words[3] != "Link":
        return None
    address, number = _address(words[2].removesuffix(":")), _small(words[4])
    return None if address is None or number is None else (address, number)


def _address(text: str) -> Address | None:
    try:
        return Address.parse(text)
    except ValueError:
        return None


def _small(text: str) -> int | None:
    text = text.strip()
    if not text.isascii() or not text.isdigit() or len(text) > 4:
        return None
    return int(text) if int(text) <= _INDEX_AT_MOST else None


def nvlinks(
    gpus: tuple[SmiGpu, ...],
    functions: Mapping[Address, Function],
    *,
    queried: tuple[SmiGpu, ...] = (),
    listed: tuple[SmiGpu, ...] = (),
    uuids: Mapping[str, Address] | None = None,
) -> ToldLinks:
    """Return the links that ``nvidia-smi nvlink -R`` tells of the functions of a host.

    ``queried`` and ``listed`` are what the query and ``-L`` printed, ``uuids`` the addresses that the driver
    tells by UUID. Where none of them tells a GPU's address, GPUs are taken in PCI order, as nvidia-smi
    numbers them; this is believed only if every link between two GPUs is then told by both.
    """
    named = _named(gpus, queried, listed, uuids or {})
    by_order = False
    if gpus and not named:
        boards = [a for a, f in sorted(functions.items()) if f.vendor == _NVIDIA and f.class_code >> 16 == 0x03]
        named = {gpu.index: boards[gpu.index] for gpu in gpus if gpu.index < len(boards)}
        by_order = True
    tables = {named[gpu.index]: gpu for gpu in gpus if gpu.index in named and named[gpu.index] in functions}
    doubts = {address: why for address, gpu in tables.items() if (why := _doubt(address, gpu, tables, functions))}
    gaps = [
        Gap(f"NVLinks of GPU {gpu.index}", "nvidia-smi shows them, but no record tells its address", _HINT)
        for gpu in gpus
        if gpu.index not in named or named[gpu.index] not in functions
    ]
    if by_order:
        unsure = bool(doubts) or not all(_has_peer(gpu, tables) for gpu in tables.values())
        if unsure:
            why = "no record tells which GPU has which address, and the remote ends do not confirm the PCI order"
            return ToldLinks(_SOURCE, gaps=(Gap("NVLinks in nvidia-smi's record", why, _HINT),))
    gaps += [Gap(f"NVLinks of {address}", why, _HINT_UP) for address, why in sorted(doubts.items())]
    links = _links(tables, doubts, functions, _SOURCE + (", addresses by PCI order" if by_order else ""))
    return ToldLinks(_SOURCE, links, frozenset(tables.keys() - doubts.keys()), tuple(gaps))


_SOURCE = "nvidia-smi nvlink -R"
_HINT = "record nvidia-smi --query-gpu=index,pci.bus_id,uuid --format=csv as records/nvidia-smi-query-gpu.csv"
_HINT_UP = "record it again with all links up"


def _named(
    gpus: tuple[SmiGpu, ...],
    queried: tuple[SmiGpu, ...],
    listed: tuple[SmiGpu, ...],
    uuids: Mapping[str, Address],
) -> dict[int, Address]:
    by_uuid = {**uuids, **{gpu.uuid: gpu.address for gpu in queried if gpu.uuid and gpu.address}}
    by_index = {gpu.index: gpu.address for gpu in queried if gpu.address}
    uuid_of = {gpu.index: gpu.uuid for gpu in listed if gpu.uuid}
    found: dict[int, Address] = {}
    for gpu in gpus:
        uuid = gpu.uuid or uuid_of.get(gpu.index, "")
        address = by_uuid.get(uuid) or by_index.get(gpu.index)
        if address is not None and address not in found.values():
            found[gpu.index] = address
    return found


def _doubt(
    address: Address, gpu: SmiGpu, tables: Mapping[Address, SmiGpu], functions: Mapping[Address, Function]
) -> str:
    """Why the record does not tell all links of a GPU; empty where it does."""
    for number, (far, far_number) in (gpu.remote or {}).items():
        function = functions.get(far)
        if function is None:
            return f"link {number} leads to {far}, which is no function of this host"
        if _kind(function) is not EndKind.FUNCTION:
            continue
        if far not in tables:
            return f"link {number} leads to {far}, whose links the record does not show"
        back = (tables[far].remote or {}).get(far_number)
        if back != (address, number):
            return f"link {number} leads to {far} link {far_number}, which does not lead back"
    if gpu.down:
        return f"links that are not up do not say where they lead: {', '.join(map(str, gpu.down))}"
    return "" if gpu.remote else "the record shows no link of it"


def _has_peer(gpu: SmiGpu, tables: Mapping[Address, SmiGpu]) -> bool:
    return any(far in tables for far, _ in (gpu.remote or {}).values())


def _kind(function: Function) -> EndKind:
    if function.vendor == _IBM:
        return EndKind.CPU
    if function.vendor == _NVIDIA and function.class_code >> 8 == 0x0680:
        return EndKind.SWITCH
    return EndKind.FUNCTION


def _links(
    tables: Mapping[Address, SmiGpu],
    doubts: Mapping[Address, str],
    functions: Mapping[Address, Function],
    source: str,
) -> tuple[Link, ...]:
    links = set()
    for address, gpu in tables.items():
        own = functions[address]
        speed = nvlink_speed(own.vendor, own.device)
        for number, (far, far_number) in (gpu.remote or {}).items():
            near = LinkEnd(EndKind.FUNCTION, address, number)
            function = functions.get(far)
            if function is None:
                end = LinkEnd(EndKind.UNKNOWN, None, far_number, str(far))
            else:
                end = LinkEnd(_kind(function), far, far_number)
                if end.kind is EndKind.FUNCTION and _back(tables, far, far_number) != (address, number):
                    # One end says so, the other does not: kept as a link, and both are left out of what is told.
                    end = LinkEnd(EndKind.FUNCTION, far, None)
            links.add(Link(LinkKind.NVLINK, *in_order(near, end), speed, source))
    return tuple(sorted(links, key=lambda link: (str(link.a), str(link.b))))


def _back(tables: Mapping[Address, SmiGpu], far: Address, number: int) -> tuple[Address, int] | None:
    return (tables[far].remote or {}).get(number) if far in tables else None
