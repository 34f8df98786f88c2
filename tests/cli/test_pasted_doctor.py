"""What doctor says of pasted texts: of what they do not show nothing good, and of the rest what it means."""

from __future__ import annotations

from pathlib import Path

import pytest
from running import Run


@pytest.mark.parametrize(
    ("text", "why", "links"),
    [
        ("pci 0000:01:00.0: Adding to iommu group 7\n", "1 function that groups name", True),
        ("platform axi:gpu: Adding to iommu group 0\n", "the record shows no function", True),
        ("01:00.0 Ethernet controller [0200]: X [8086:1521]\n", "what stands above 1 function was not read", False),
    ],
)
def test_doctor_is_content_with_nothing_that_it_did_not_see(
    run: Run, tmp_path: Path, text: str, why: str, links: bool
) -> None:
    (tmp_path / "post.txt").write_text(text)
    out = run("doctor", "--host", tmp_path / "post.txt").out
    assert why in " ".join(out.split())
    assert "ok       acs " not in out
    assert ("unknown  links " in out) is links


def test_doctor_tells_what_of_the_command_line_has_no_effect(run: Run, tmp_path: Path) -> None:
    """An option each, or a comma between ports: the kernel takes one of them."""
    port = "00:01.0 PCI bridge [0604]: Intel Corporation Root Port [8086:a340]\n"
    for words in ("pci=disable_acs_redir=00:01.0,00:02.0", "pci=disable_acs_redir=00:02.0;00:01.0"):
        (tmp_path / "lspci.txt").write_text(f"$ cat /proc/cmdline\nroot=/dev/sda1 quiet {words}\n\n$ lspci -nn\n{port}")
        told = " ".join(run("doctor", "--host", tmp_path / "lspci.txt").out.split())
        assert ("the kernel does not act on 00:02.0 (after a comma" in told) == ("," in words)
        assert f"{words} sets ACS at boot" in told
    words = "pci=disable_acs_redir=00:01.0 pci=disable_acs_redir=00:02.0"
    (tmp_path / "lspci.txt").write_text(f"$ cat /proc/cmdline\nquiet {words}\n\n$ lspci -nn\n{port}")
    told = " ".join(run("doctor", "--host", tmp_path / "lspci.txt").out.split())
    assert "acs-parameter pci=disable_acs_redir=00:02.0 sets ACS at boot" in told


@pytest.mark.parametrize("word", ["iommu=pt", "iommu=soft,pt", "iommu.passthrough=1", "iommu.passthrough=on"])
def test_doctor_knows_each_spelling_of_pass_through(run: Run, tmp_path: Path, word: str) -> None:
    port = "00:01.0 PCI bridge [0604]: Intel Corporation Root Port [8086:a340]\n\tIOMMU group: 1\n"
    (tmp_path / "lspci.txt").write_text(f"$ cat /proc/cmdline\nroot=/dev/sda1 {word}\n\n$ lspci -nn\n{port}")
    told = " ".join(run("doctor", "--host", tmp_path / "lspci.txt").out.split())
    assert f"passthrough {word} on the command line" in told


@pytest.mark.parametrize(
    ("word", "named"), [("intel_iommu=sm_on,off", True), ("iommu.passthrough=1", False), ("iommu=pt", False)]
)
def test_doctor_names_what_left_the_iommu_off(run: Run, tmp_path: Path, word: str, named: bool) -> None:
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/cmdline").write_text(f"quiet {word}\n")
    place = tmp_path / "sys/bus/pci/devices/0000:00:01.0"
    place.mkdir(parents=True)
    for name, value in (("vendor", "0x8086"), ("device", "0xa340"), ("class", "0x060400")):
        (place / name).write_text(value + "\n")
    (tmp_path / "sys/kernel/iommu_groups").mkdir(parents=True)
    told = " ".join(run("doctor", "--host", tmp_path).out.split())
    assert f"none in use{f': {word} is on the command line' if named else ''} why" in told


def test_doctor_tells_why_acs_is_not_known(run: Run, tmp_path: Path) -> None:
    """lspci takes the wrong half of a dword for the ACS control of these chips: the same text again would not help."""
    off = " ".join(f"{flag}-" for flag in ("SrcValid", "TransBlk", "ReqRedir", "CmpltRedir", "UpstreamFwd"))
    text = (
        "00:00.0 Host bridge [0600]: Intel Corporation Device [8086:591f]\n\n"
        "00:1b.0 PCI bridge [0604]: Intel Corporation 200 Series PCH Root Port #17 [8086:a2e7] (prog-if 00)\n"
        "\tControl: I/O+ Mem+ BusMaster+ SpecCycle- MemWINV- VGASnoop- ParErr- Stepping- SERR- FastB2B- DisINTx+\n"
        "\tStatus: Cap+ 66MHz- UDF- FastB2B- ParErr- DEVSEL=fast >TAbort- <TAbort- <MAbort- >SERR- <PERR- INTx-\n"
        "\tBus: primary=00, secondary=02, subordinate=02, sec-latency=0\n"
        "\tCapabilities: [40] Express (v2) Root Port (Slot+), MSI 00\n"
        "\tCapabilities: [140 v1] Access Control Services\n"
        f"\t\tACSCap:\t{off.replace('-', '+')} EgressCtrl- DirectTrans-\n"
        f"\t\tACSCtl:\t{off} EgressCtrl- DirectTrans-\n\n"
        "02:00.0 Non-Volatile memory controller [0108]: X [144d:a804]\n"
    )
    (tmp_path / "lspci.txt").write_text(text)
    told = " ".join(run("doctor", "--host", tmp_path / "lspci.txt").out.split())
    assert "ACS of 1 port was not read: 0000:00:1b.0 why: lspci.txt: lspci misreads the ACS control" in told
    assert "of a paste: lspci -nnvvvxxxx, run as root" in told
