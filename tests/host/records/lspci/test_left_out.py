"""Below lines that are lacking with a function's first one stands what is another function's, or nobody's."""

from __future__ import annotations

import pytest

from atoll.host.fact import Known, Unknown
from host.records.paste import PORT, at, host_of

_OTHER = """\
02:00.0 Ethernet controller [0200]: Intel Corporation Some NIC [8086:1533] (rev 03)
\tSubsystem: Intel Corporation Device [8086:0001]
\tControl: I/O+ Mem+ BusMaster+ SpecCycle- MemWINV- VGASnoop- ParErr- Stepping- SERR- FastB2B- DisINTx+
\tStatus: Cap+ 66MHz- UDF- FastB2B- ParErr- DEVSEL=fast >TAbort- <TAbort- <MAbort- >SERR- <PERR- INTx-
\tIOMMU group: 7
\tCapabilities: [40] Power Management version 3
\t\tFlags: PMEClk- DSI+ D1- D2- AuxCurrent=0mA PME(D0+,D1-,D2-,D3hot+,D3cold+)
\tCapabilities: [140 v1] Device Serial Number 00-11-22-ff-ff-33-44-55
\tCapabilities: [1a0 v1] Access Control Services
\t\tACSCap:\tSrcValid- TransBlk- ReqRedir- CmpltRedir- UpstreamFwd- EgressCtrl- DirectTrans-
\t\tACSCtl:\tSrcValid- TransBlk- ReqRedir- CmpltRedir- UpstreamFwd- EgressCtrl- DirectTrans-
\tKernel driver in use: igb
"""
_GPU = PORT.index("01:00.0 VGA")
_REST = _OTHER.partition("\n")[2]


@pytest.mark.parametrize("end", ["\n", "\n...\n", "\n\n"])
def test_a_second_control_line_is_of_a_function_whose_first_line_is_lost(end: str) -> None:
    """Be it that a pager, a program or somebody took out what stands between."""
    shown = PORT[: PORT.index("\tCapabilities: [1c0 v1]")].rstrip("\n") + end
    host = host_of(shown + _REST)
    gpu = host.functions[at("01:00.0")]
    assert gpu.group == Known(2, gpu.group.source if isinstance(gpu.group, Known) else "")
    for name in ("serial", "driver", "acs"):
        fact = getattr(gpu, name)
        # With a blank line the function ends, as lspci ends it: it has none.
        assert isinstance(fact, Known) and fact.value is None if end == "\n\n" else isinstance(fact, Unknown), name


def test_the_same_of_flags() -> None:
    flags = "\tFlags: bus master, fast devsel, latency 0, IRQ 16, IOMMU group {}\n"
    lost = "\tCapabilities: [140] Device Serial Number 00-11-22-ff-ff-33-44-55\n"
    text = f"01:00.0 VGA compatible controller: A\n{flags.format(2)}\tCapabilities: [60] Power Management version 3\n"
    gpu = host_of(f"{text}{flags.format(7)}{lost}").functions[at("01:00.0")]
    assert isinstance(gpu.serial, Unknown)
    assert isinstance(gpu.group, Known)
    assert gpu.group.value == 2


@pytest.mark.parametrize(
    "mark",
    [
        "[... 300 lines omitted ...]",
        "< truncated lines 110-352 >",
        "[output truncated]",
        "... (1,234 bytes truncated) ...",
        "\n[... 12 lines skipped ...]\n",
        "@@ -280,105 +280,105 @@",
    ],
)
def test_what_a_program_left_out_may_end_in_another_function(mark: str) -> None:
    shown = PORT[:_GPU] + PORT[_GPU:].partition("\tCapabilities: [100")[0]
    rest = _OTHER[_OTHER.index("\tCapabilities: [140") :]
    host = host_of(f"{shown}{mark}\n{rest}\n{_OTHER}")
    gpu = host.functions[at("01:00.0")]
    for name in ("serial", "driver", "acs") if "\n" not in mark else ():
        assert isinstance(getattr(gpu, name), Unknown), name
    if "\n" in mark:
        assert isinstance(gpu.serial, Known)
        assert gpu.serial.value is None
    assert isinstance(host.functions[at("02:00.0")].serial, Known)


@pytest.mark.parametrize("mark", ["...", "[snip]"])
def test_what_somebody_left_out_of_a_function_leaves_the_rest_its_own(mark: str) -> None:
    shown = PORT.replace("\tCapabilities: [a0] Express", f"\t{mark}\n\tCapabilities: [a0] Express")
    port = host_of(shown).functions[at("00:01.0")]
    assert isinstance(port.acs, Known)
    assert port.acs.value is not None


@pytest.mark.parametrize(
    "between", ["\n", "\nand of the card beside it:\n\n", "```\nand of the card beside it:\n```\n"]
)
def test_what_was_picked_below_the_end_of_a_function_is_not_its_own(between: str) -> None:
    """lspci ends each with a blank line; the places of these capabilities would follow its own."""
    shown = "```\n" + PORT[: PORT.index("\tCapabilities: [1c0 v1]")].rstrip("\n") + "\n"
    rest = _OTHER[_OTHER.index("\tCapabilities: [140") :]
    gpu = host_of(f"{shown}{between}{rest}```\n").functions[at("01:00.0")]
    for name in ("serial", "driver", "acs"):
        assert isinstance(getattr(gpu, name), Unknown), name
    gpu = host_of(f"{shown}{between}\tIOMMU group: 7\n\tKernel driver in use: igb\n```\n").functions[at("01:00.0")]
    assert isinstance(gpu.driver, Unknown)
    assert isinstance(gpu.group, Known)
    assert gpu.group.value == 2
