"""The matrix of ``nvidia-smi topo -m``: how many bonded NVLinks there are between each two GPUs.

Source of the cells: the program's own legend: ``X`` self; ``SYS``, ``NODE``, ``PHB``, ``PXB``, ``PIX`` (and ``SOC``,
``PSB`` of old drivers) paths over PCIe; ``NV#`` a bonded set of # NVLinks. A cell holds one word, so blanks and
tabs both split; what follows the last device (affinities) is passed over. ``topo -p2p`` prints a matrix of the same
shape with other words: it is none of these. Mailers wrap long lines: columns go on in the line after the heading, and
cells in the line after a row. Where a row stands twice and differs (of two machines, interleaved, or with one heading
for both), neither counts. ``topo -mp`` leaves the NVLinks out: a matrix without them is no
statement that there are none.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from atoll.host.links.smi import small

__all__ = ["TopoMatrix", "parse_topo"]

_PCIE = frozenset({"X", "SYS", "NODE", "PHB", "PXB", "PIX", "SOC", "PSB"})
_MOST_COLUMNS = 1024
_MOST_LINKS = 64


@dataclass(frozen=True, slots=True)
class TopoMatrix:
    """NVLinks between GPUs, by index."""

    gpus: tuple[int, ...]
    """Indices of all columns that are GPUs."""
    links: Mapping[tuple[int, int], int]
    """Row and column: how many links. A pair whose cell the text does not show, or in two ways, is absent."""


def parse_topo(text: str) -> tuple[TopoMatrix, ...]:
    """Return the matrices of a text. Lines of another form are passed over."""
    found: list[TopoMatrix] = []
    columns: list[str] = []
    rows: dict[str, list[list[str]]] = {}
    last: list[str] | None = None
    """The row that the line before is of."""
    for line in text.splitlines():
        words = line.replace("|", " ").split()
        heading = _heading(words)
        if heading and columns and not rows and heading[0] not in columns:
            columns += heading
        elif heading:
            found += _matrix(columns, rows)
            columns, rows = heading, {}
        elif columns and words and _gpu(words[0]) is not None and words[0] in columns and _goes_on(words, rows):
            last = words[1 : len(columns) + 1]
            rows.setdefault(words[0], []).append(last)
        elif last is not None and len(last) < len(columns) and words and _is_cell(words[0]):
            last += words[: len(columns) - len(last)]
        else:
            last = None
    return (*found, *_matrix(columns, rows))


def _goes_on(words: list[str], rows: Mapping[str, list[list[str]]]) -> bool:
    """Whether a line that begins with a GPU is a row: its first is one, or the matrix none; later, with cells alone."""
    return words[0] not in rows or all(map(_is_cell, words[1:3]))


def _heading(words: list[str]) -> list[str]:
    """The devices of a heading, empty for a line that is none."""
    if not words or _gpu(words[0]) is None:
        return []
    devices: list[str] = []
    for word in words:
        if word in ("CPU", "NUMA", "GPU") or len(devices) == _MOST_COLUMNS:
            break
        if _is_cell(word):
            return []
        devices.append(word)
    return devices


def _matrix(columns: list[str], rows: Mapping[str, list[list[str]]]) -> list[TopoMatrix]:
    gpus = {device: index for device in columns if (index := _gpu(device)) is not None}
    # Of one GPU, its own cell tells this matrix from tables of other programs.
    alone = len(gpus) == 1 and any(cells[:1] != ["X"] for found in rows.values() for cells in found)
    if not gpus or alone or not rows or len(set(columns)) != len(columns):
        return []
    links: dict[tuple[int, int], int] = {}
    for row, found in rows.items():
        for column, *cells in zip(columns, *found, strict=False):
            if column not in gpus or row == column:
                continue
            counts = {0 if cell in _PCIE else _nvlinks(cell) for cell in cells}
            if None in counts:
                return []
            if len(counts) == 1:
                links[gpus[row], gpus[column]] = counts.pop() or 0
    return [TopoMatrix(tuple(sorted(gpus.values())), links)]


def _is_cell(word: str) -> bool:
    return word in _PCIE or _nvlinks(word) is not None


def _gpu(word: str) -> int | None:
    return small(word.removeprefix("GPU")) if word.startswith("GPU") else None


def _nvlinks(word: str) -> int | None:
    count = small(word.removeprefix("NV")) if word.startswith("NV") else None
    return count if count is not None and count <= _MOST_LINKS else None
