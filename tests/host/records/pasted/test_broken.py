"""Lines that a terminal broke at its edge are whole again; others stay."""

from __future__ import annotations

from pathlib import Path

import pytest

from atoll.host.records.pasted.broken import mended
from host.records.paste import MACHINES, PORT, recorded_text

_TEXTS = sorted(MACHINES.glob("*/lspci.txt.xz"))


def _shown(lines: list[str], width: int) -> list[str]:
    return [line[at : at + width] for line in lines for at in range(0, max(len(line), 1), width)]


@pytest.mark.parametrize("width", [80, 100])
@pytest.mark.parametrize("path", _TEXTS, ids=lambda path: path.parent.name)
def test_what_a_terminal_shows_is_what_was_printed(path: Path, width: int) -> None:
    lines = recorded_text(path).decode().expandtabs().splitlines()
    shown = _shown(lines, width)
    assert shown != lines
    assert mended(shown) == lines
    without_blanks = [line.rstrip() for line in shown]
    assert "".join("".join(mended(without_blanks)).split()) == "".join("".join(lines).split())


@pytest.mark.parametrize("path", _TEXTS, ids=lambda path: path.parent.name)
def test_whole_lines_stay(path: Path) -> None:
    lines = recorded_text(path).decode().splitlines()
    assert mended(lines) == lines


@pytest.mark.parametrize(
    "line",
    [
        "lrwxrwxrwx 1 root root 0 Nov 27 11:00 0000:00:0{}.0 -> ../../../../devices/pci0000:00/0000:00:0{}.0",
        "│ 0x060400 │ 0x1901 │ 0000:00:0{}.0 │          {} │ 0x8086 │ 6th-10th Gen Core PCIe Controller │",
        "[    0.40000{}] pci 0000:00:0{}.0: [8086:1901] type 01 class 0x060400 PCIe Root Port, and what more",
        "IOMMU Group {} 00:0{}.0 PCI bridge [0604]: Intel Corporation Some PCIe Root Port [8086:1901]",
    ],
)
def test_lines_of_one_length_stay(line: str) -> None:
    lines = [line.format(n, n) for n in range(8)]
    assert mended(lines) == lines
    assert mended([*lines, "short"]) == [*lines, "short"]


def test_lines_that_a_mailer_broke_between_words_stay() -> None:
    lines = [part for line in PORT.splitlines() for part in (line[:60], line[60:]) if part.strip()]
    soft = [line.rsplit(" ", 1)[0] if len(line) == 60 else line for line in lines]
    assert mended(soft) == soft
