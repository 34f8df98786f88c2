"""What nvidia-smi prints of GPUs and their links: its table, ``-L``, ``--query-gpu``, ``nvlink`` and ``c2c``.

Source of the forms: the program's own output (NVIDIA drivers 418 to 580)::

    GPU 0: NVIDIA H100 80GB HBM3 (UUID: GPU-…)
             Link 0: Remote Device 00000000:07:00.0: Link 46      (-R)
             Link 0: 00000000:07:00.0                             (-p)
             Link 0: 26.562 GB/s                                  (-s)
             Link 1: <inactive>                                   (all of them)
             Link 0: Data Tx: 5218 KiB                            (-gt, and -e alike: no state)
    GPU 1: NVIDIA H100 NVL (UUID: GPU-…) NVML: Unable to retrieve …  (a line of its own, or not)
             C2C Link 0: 44.712 GB/s                              (c2c -s)

Where NVML cannot name the other side (in a virtual machine, or a switch that is no PCI function of this host)
the address is ``FFFFFFFF:FF:FF.0`` or ``00000000:00:00.0``: a link that leads to what is not told.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from decimal import Decimal, InvalidOperation

from atoll.host.links.text import address_in
from atoll.pci.address import Address

__all__ = ["SmiGpu", "parse_c2c", "parse_gpu_list", "parse_gpu_query", "parse_gpu_table", "parse_links", "small"]

_INDEX_AT_MOST = 4096
_NOWHERE = Address(0, 0, 0, 0)
_GIGABYTE = 1_000_000_000


@dataclass(frozen=True, slots=True)
class SmiGpu:
    """One GPU as nvidia-smi prints it."""

    index: int
    uuid: str = ""
    """Empty where the text does not show it."""
    address: Address | None = None
    remote: Mapping[int, tuple[Address, int | None]] | None = None
    """By link number: the remote device and its link number (``-p``: None). None where no link is shown."""
    down: tuple[int, ...] = ()
    """Links that show no remote device and no rate."""
    rates: Mapping[int, int] = field(default_factory=dict)
    """By link number: bytes per second and direction of a link that is up."""
    unnamed: tuple[int, ...] = ()
    """Links that are up and lead to what NVML cannot name."""


def parse_links(text: str) -> tuple[SmiGpu, ...]:
    """Return the GPUs that a text shows with links (be it none). Lines of another form are passed over."""
    return tuple(_gpu(header, lines) for header, lines in _sections(text, "Link "))


def parse_c2c(text: str) -> tuple[SmiGpu, ...]:
    """Return the GPUs of which a text shows C2C links that are up, with the rates of these."""
    shown = ((header, _gpu(header, lines).rates) for header, lines in _sections(text, "C2C Link "))
    return tuple(replace(header, rates=rates) for header, rates in shown if rates)


def _sections(text: str, word: str) -> Iterator[tuple[SmiGpu, list[tuple[int, str]]]]:
    """Yield each GPU with its links and what is said of them, in lines that begin with a word."""
    header: SmiGpu | None = None
    lines: list[tuple[int, str]] = []
    for line in text.splitlines():
        next_header = _header(line)
        if next_header is not None:
            if header is not None:
                yield header, lines
            header, lines = next_header, []
            continue
        number, colon, rest = line.strip().removeprefix(word).partition(":")
        at = small(number)
        if line.strip().startswith(word) and colon and at is not None:
            lines.append((at, rest))
    if header is not None:
        yield header, lines


def _gpu(header: SmiGpu, lines: list[tuple[int, str]]) -> SmiGpu:
    remote: dict[int, tuple[Address, int | None]] = {}
    rates: dict[int, int] = {}
    down: list[int] = []
    unnamed: list[int] = []
    for at, rest in lines:
        end, rate = _remote(rest), _rate(rest)
        if end is None and rate is None and _is_count(rest):
            continue
        if at in remote or at in rates or at in unnamed:
            down.append(at)
        elif end is not None and end[0] == _NOWHERE:
            unnamed.append(at)
        elif end is not None:
            remote[at] = end
        elif rate is not None:
            rates[at] = rate
        else:
            down.append(at)
    return replace(
        header,
        remote=dict(sorted(remote.items())),
        down=tuple(sorted(set(down))),
        rates=dict(sorted(rates.items())),
        unnamed=tuple(unnamed),
    )


def parse_gpu_list(text: str) -> tuple[SmiGpu, ...]:
    """Return the GPUs of ``nvidia-smi -L``, or of any text with such headings: index and UUID."""
    return tuple(gpu for line in text.splitlines() if (gpu := _header(line)) is not None)


def parse_gpu_query(text: str) -> tuple[SmiGpu, ...]:
    """Return the GPUs of ``nvidia-smi --query-gpu=index,pci.bus_id,uuid --format=csv``; the header tells columns."""
    columns: list[str] = []
    gpus = []
    for line in text.splitlines():
        row = [cell.strip() for cell in line.split(",")]
        if "pci.bus_id" in row:
            columns = row
            continue
        cells = dict(zip(columns, row, strict=False))
        index, address = small(cells.get("index", "")), address_in(cells.get("pci.bus_id", ""))
        if index is not None and address is not None:
            gpus.append(SmiGpu(index, cells.get("uuid", ""), address))
    return tuple(gpus)


def parse_gpu_table(text: str) -> tuple[SmiGpu, ...]:
    """Return the GPUs of the table that ``nvidia-smi`` alone prints.

    ``|   0  NVIDIA A100-SXM4-80GB  On | 00000000:0E:00.0 Off | …``: index and name, address and whether it displays.
    """
    gpus = []
    for line in text.splitlines():
        cells = line.strip().split("|")
        if len(cells) < 4 or cells[0]:
            continue
        words, place = cells[1].split(), cells[2].split()
        index = small(words[0]) if len(words) > 1 else None
        address = address_in(place[0]) if len(place) == 2 else None
        if index is not None and address is not None:
            gpus.append(SmiGpu(index, "", address))
    return tuple(gpus)


def small(text: str) -> int | None:
    """Return an index or link number, None for what is none."""
    text = text.strip()
    if not text.isascii() or not text.isdigit() or len(text) > 4:
        return None
    return int(text) if int(text) <= _INDEX_AT_MOST else None


def _header(line: str) -> SmiGpu | None:
    head, colon, rest = line.strip().partition(":")
    index = small(head.removeprefix("GPU ")) if head.startswith("GPU ") and colon else None
    if index is None:
        return None
    return SmiGpu(index, rest.partition("(UUID:")[2].partition(")")[0].strip())


def _remote(text: str) -> tuple[Address, int | None] | None:
    words = text.split()
    for place, word in enumerate(words):
        lower = word.removesuffix(":").lower()
        unnamed = lower.startswith("ffffff") and ":ff:" in lower
        address = _NOWHERE if unnamed else address_in(word.removesuffix(":"))
        if address is not None:
            number = words[place + 1 : place + 3]
            return address, small(number[1]) if len(number) == 2 and number[0] == "Link" else None
    return None


def _rate(text: str) -> int | None:
    words = text.split()
    if len(words) != 2 or words[1] != "GB/s" or len(words[0]) > 12 or not words[0].isascii():
        return None
    try:
        rate = Decimal(words[0])
    except InvalidOperation:
        return None
    return int(rate * _GIGABYTE) if rate.is_finite() and 0 < rate < _INDEX_AT_MOST else None


def _is_count(text: str) -> bool:
    """Whether it is of ``nvlink -e``, ``-gt`` or the like: ``Replay Errors: 0``, ``Data Tx: 5218 KiB``."""
    return ": " in text.strip() and "Remote" not in text
