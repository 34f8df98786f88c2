"""Names, quantities, colour and documents."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest

from atoll.pci.address import Address
from atoll.plan.step import Bandwidth
from atoll.report.document import document, dump
from atoll.report.names import Names
from atoll.report.plan import bandwidth_lines
from atoll.report.quantity import bandwidth, hexadecimal, size
from atoll.report.style import PLAIN, Style, style_for

PCI_IDS = """\
# a comment
10de  NVIDIA Corporation
\t1db1  GV100GL [Tesla V100 SXM2 16GB]
\t\t10de 1212  a subsystem
not a line of it
\t0000  lost
1014  IBM

C 03  Display controller
\t02  3D controller
\t\t00  whatever
"""


def test_pci_ids(tmp_path: Path) -> None:
    path = tmp_path / "pci.ids"
    path.write_text(PCI_IDS)
    names = Names.load([tmp_path / "missing", path])
    assert names.device_name(0x10DE, 0x1DB1) == "NVIDIA Corporation GV100GL [Tesla V100 SXM2 16GB]"
    assert names.device_name(0x10DE, 0x9999) == "NVIDIA Corporation Device"
    assert names.device_name(0x9999, 0x1DB1) == ""
    assert names.class_name(0x030200) == "3D controller"
    assert names.class_name(0x037700) == "Display controller"
    assert names.devices == {(0x10DE, 0x1DB1): "GV100GL [Tesla V100 SXM2 16GB]"}


def test_without_pci_ids(tmp_path: Path) -> None:
    names = Names.load([tmp_path / "missing"])
    assert names == Names()
    assert names.class_name(0x060400) == "PCI bridge"
    assert names.class_name(0x999900) == "Class 9999"


def test_quantities() -> None:
    assert [bandwidth(25_000_000_000), bandwidth(1_200_000_000_000), bandwidth(None), bandwidth(0)] == [
        "25 GB/s",
        "1.2 TB/s",
        "? GB/s",
        "0 GB/s",
    ]
    assert [size(16 << 20), size(512)] == ["16 MiB", "512 B"]
    assert [hexadecimal(0x1D0000), hexadecimal(0x1D, 4), hexadecimal(None)] == ["0x1D0000", "0x001D", None]


def test_bandwidth_is_told_of_clusters_with_links_only() -> None:
    bare, linked = Bandwidth("red", (), 0, 0), Bandwidth("blue", (), 0, 50_000_000_000)
    assert bandwidth_lines((bare,), PLAIN) == []
    lines = bandwidth_lines((bare, linked), PLAIN)
    assert len(lines) == 2
    assert "blue" in lines[1]


def test_documents() -> None:
    text = dump(document("twin attack", at=Address(4, 4, 0, 0).__str__(), links=frozenset({2, 1}), where=Path("a/b")))
    assert json.loads(text) == {
        "schema": "atoll.twin-attack/1",
        "at": "0004:04:00.0",
        "links": [1, 2],
        "where": "a/b",
    }
    assert text.startswith('{\n  "schema"')


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_colour_on_a_terminal_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    assert style_for(Terminal()) == Style(colour=True)
    assert style_for(io.StringIO()) == PLAIN
    monkeypatch.setenv("NO_COLOR", "1")
    assert style_for(Terminal()) == PLAIN
    monkeypatch.delenv("NO_COLOR")
    monkeypatch.setenv("TERM", "dumb")
    assert style_for(Terminal()) == PLAIN
