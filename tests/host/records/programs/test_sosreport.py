"""A report of sos: files of the host, and beside them what programs printed."""

from __future__ import annotations

import tarfile
from pathlib import Path

import pytest

from atoll.cli.session import open_session
from atoll.host import read_host
from atoll.host.fact import value_of
from atoll.host.model import Host
from host.records.paste import GPU, PORT, at

_LOG = (
    "[    0.0] Linux version 5.14.0-427.el9.x86_64 (x)\n[    0.0] Command line: ro iommu=pt\n"
    "[    0.2] DMAR-IR: Enabled IRQ remapping in x2apic mode\n[    0.4] iommu: Default domain type: Passthrough\n"
)


@pytest.fixture
def report(tmp_path: Path) -> Path:
    top = tmp_path / "sosreport-node1"
    files = {
        "proc/cmdline": "ro iommu=pt\n",
        "proc/version": "Linux version 5.14.0-427.el9.x86_64 (x)\n",
        "sos_commands/pci/lspci_-nnvv": PORT + GPU,
        "sos_commands/pci/lspci_-tv": "",
        "sos_commands/kernel/dmesg": _LOG,
        "sos_commands/kernel/dmesg_-T": "dmesg: read kernel buffer failed: Operation not permitted\n",
        "sos_commands/nvidia/nvidia-smi_-q": "sh: nvidia-smi: command not found\n",
    }
    for name, text in files.items():
        path = top / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return top


def _is_right(host: Host) -> bool:
    port, gpu = host.functions[at("00:01.0")], host.functions[at("01:00.0")]
    assert (port.device, gpu.device, gpu.parent) == (0x1901, 0x1B80, port.address)
    assert value_of(host.interrupt_remapping, None) is True
    return value_of(host.passthrough, None) is True


def test_a_folder(report: Path) -> None:
    assert _is_right(read_host(str(report)))
    assert _is_right(open_session([str(report)]).host)


def test_an_archive(report: Path, tmp_path: Path) -> None:
    archive = tmp_path / "sosreport-node1.tar.xz"
    with tarfile.open(archive, "w:xz") as packed:
        packed.add(report, report.name)
    assert _is_right(open_session([str(archive)]).host)
