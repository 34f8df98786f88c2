"""Texts that end too early, and texts that name what they do not tell: neither is a fact that something is absent."""

from __future__ import annotations

from dataclasses import replace

import pytest

from atoll.host.fact import Known, Unknown
from atoll.isolation.groups import predict
from atoll.pci.acs import Acs
from atoll.pci.bridge import Bridge
from host.records.paste import PORT, at, host_of

_FACTS = (
    *("header", "multifunction", "port_type", "command", "acs", "ats", "pasid", "sriov", "bridge", "group"),
    *("cxl_cache", "multicast", "driver", "numa_node", "flr", "bars", "serial", "power_state"),
)
_SRIOV = """\
\tCapabilities: [160 v1] Single Root I/O Virtualization (SR-IOV)
\t\tIOVCap:\tMigration- 10BitTagReq- IntMsgNum 0
\t\tIOVCtl:\tEnable+ Migration- Interrupt- MSE+ ARIHierarchy- 10BitTagReq-
\t\tInitial VFs: 8, Total VFs: 8, Number of VFs: 2, Function Dependency Link: 00
\t\tVF offset: 128, stride: 2, Device ID: 1520
"""
_NIC = PORT.partition("01:00.0")[0] + "".join(
    f"""\
01:{place} Ethernet controller [0200]: Intel Corporation Some NIC [8086:{device}]
\tControl: I/O- Mem+ BusMaster+ SpecCycle- MemWINV- VGASnoop- ParErr- Stepping- SERR- FastB2B- DisINTx-
\tStatus: Cap+ 66MHz- UDF- FastB2B- ParErr- DEVSEL=fast >TAbort- <TAbort- <MAbort- >SERR- <PERR- INTx-
\tIOMMU group: {group}
\tCapabilities: [a0] Express (v2) Endpoint, MSI 00
\t\tDevCap:\tMaxPayload 512 bytes, PhantFunc 0, Latency L0s <512ns, L1 <64us
\t\t\tExtTag- AttnBtn- AttnInd- PwrInd- RBE+ FLReset+
{more}
"""
    for place, device, group, more in (
        ("00.0", "1521", 2, _SRIOV),
        ("10.0", "1520", 3, ""),
        ("10.2", "1520", 4, ""),
    )
)


@pytest.mark.parametrize("kept", range(1500, len(PORT) - 1, 37))
def test_a_text_cut_anywhere_tells_nothing_else(kept: int) -> None:
    text = PORT.replace("[8086:1901]", "[8086:ffff]")
    whole, cut = host_of(text), host_of(text[:kept])
    for address, function in cut.functions.items():
        for name in _FACTS:
            one, other = getattr(whole.functions[address], name), getattr(function, name)
            if isinstance(other, Known) and name not in ("command", "bars"):
                assert isinstance(one, Known), (kept, address, name)
                assert other.value == one.value, (kept, address, name)


def test_the_cut_is_told() -> None:
    text = PORT[: PORT.index("[1c0 v1]")]
    gpu = host_of(text).functions[at("01:00.0")]
    assert isinstance(gpu.ats, Unknown)
    assert "ends in the middle" in gpu.ats.reason
    assert isinstance(gpu.multifunction, Unknown)
    assert any("ends in the middle of 0000:01:00.0" in gap.why for gap in host_of(text).gaps)


_BOXES = {
    "fence": "Look:\n\n```\n{}```\n",
    "fence of a shell": "~~~console\n# lspci -vvv\n{}~~~\n",
    "forum": "Look: [CODE]{}[/CODE]\n",
    "forum, folded away": "[SPOILER][code]\n{}[/code][/SPOILER]\n",
    "forum, quoted": "[quote]\n{}[/quote]\n",
    "forum, folded away alone": "Look:\n[SPOILER=lspci]\n{}[/SPOILER]\n",
    "mail": "<blockquote>\n{}</blockquote>\n",
    "folded away": "<details><summary>lspci</summary>\n\n{}</details>\n",
    "page": "<pre><code>\n{}</code></pre>\n",
    "quote": "> ```\n{}> ```\n",
}


@pytest.mark.parametrize("box", _BOXES)
@pytest.mark.parametrize("lines", [0, 1])
def test_a_box_of_code_that_ends_too_early_tells_no_more_than_a_text(box: str, lines: int) -> None:
    """A limit of a forum's cut it, or a hand: its end stands right below, and what was written on."""
    begin = "> " if box == "quote" else ""
    cut, more = PORT.partition("[1c0 v1] Addr")[0], _NIC.replace("01:", "05:").replace("00:01.0", "00:05.0")
    text = (cut if lines == 0 else cut.rpartition("\n")[0]) + "\n"
    shown = "".join(f"{begin}{line}" for line in text.splitlines(keepends=True))
    for after in ("", "\nThanks!\n", f"\nAnd more:\n```\n{more}\n```\n"):
        host = host_of(f"{_BOXES[box].format(shown)}{begin}\n{after}")
        gpu = host.functions[at("01:00.0")]
        for name in ("ats", "acs", "driver", "serial", "sriov"):
            assert isinstance(getattr(gpu, name), Unknown), (name, after)
        assert any("ends in the middle of 0000:01:00.0" in gap.why for gap in host.gaps), after


@pytest.mark.parametrize("box", _BOXES)
@pytest.mark.parametrize("end", ["\n", "\tKernel driver in use: nvidia\n"])
def test_a_box_of_code_that_ends_as_lspci_does_is_whole(box: str, end: str) -> None:
    begin = "> " if box == "quote" else ""
    shown = "".join(f"{begin}{line}" for line in (PORT.rstrip("\n") + "\n" + end).splitlines(keepends=True))
    host = host_of(_BOXES[box].format(shown) + f"{begin}\nThanks!\n")
    assert isinstance(host.functions[at("01:00.0")].acs, Known)
    assert not any("ends in the middle" in gap.why for gap in host.gaps)


@pytest.mark.parametrize("typed", ["root@host:~# ", "$ lspci -t", "[me@host ~]$ lspci -vvv -s 05:00.0 | grep ACS"])
def test_an_output_that_ends_right_above_a_prompt_is_cut(typed: str) -> None:
    """``lspci -vvv | head -40``: lspci itself ends with a blank line."""
    cut = PORT.partition("\tCapabilities: [1c0 v1]")[0]
    host = host_of(f"$ lspci -vvv | head -40\n{cut}{typed}\n")
    for name in ("ats", "acs", "driver", "serial"):
        assert isinstance(getattr(host.functions[at("01:00.0")], name), Unknown), name
    assert any("ends in the middle of 0000:01:00.0" in gap.why for gap in host.gaps)
    for end in ("\n", "\tKernel driver in use: nvidia\n"):
        assert isinstance(host_of(f"{PORT.rstrip()}\n{end}{typed}\n").functions[at("01:00.0")].acs, Known)


def test_code_within_a_sentence_ends_no_function() -> None:
    text = PORT.rstrip("\n") + "\n\nI ran [code]lspci[/code]\nas root, [icode]-vvv[/icode]\n[code]\n[/code]\n"
    assert isinstance(host_of(text).functions[at("01:00.0")].acs, Known)


@pytest.mark.parametrize("end", ["\n\n", "\n\tKernel driver in use: nvidia"])
def test_a_text_that_ends_as_lspci_does_is_whole(end: str) -> None:
    host = host_of(PORT.rstrip("\n") + end)
    assert isinstance(host.functions[at("01:00.0")].acs, Known)
    assert not any("ends in the middle" in gap.why for gap in host.gaps)


def test_flr_needs_its_flag() -> None:
    # Each line doubled: the second one of DevCap is cut off from its first.
    gpu = host_of(PORT.replace("\n", "\n\n")).functions[at("01:00.0")]
    assert isinstance(gpu.flr, Unknown)


def test_a_function_beside_none_is_multifunction_by_its_number() -> None:
    lone = host_of(PORT.replace("01:00.0", "01:00.1")).functions[at("01:00.1")]
    assert isinstance(lone.multifunction, Known)
    assert lone.multifunction.value


def test_virtual_functions_are_found_by_their_numbers() -> None:
    host = host_of(_NIC)
    assert host.functions[at("01:10.2")].physical_function == at("01:00.0")
    prediction = predict(host)
    assert (at("01:10.0"),) in prediction.groups
    assert at("01:10.0") not in dict(prediction.undetermined)


@pytest.mark.parametrize("lost", ["\t\tInitial VFs: 8", "\t\tVF offset: 128"])
def test_without_the_numbers_they_may_be_virtual(lost: str) -> None:
    host = host_of("".join(line for line in _NIC.splitlines(keepends=True) if not line.startswith(lost)))
    for place in ("01:10.0", "01:10.2"):
        assert host.functions[at(place)].perhaps_virtual
        assert isinstance(host.functions[at(place)].multifunction, Unknown)
        assert at(place) in dict(predict(host).undetermined)
    assert not host.functions[at("01:00.0")].perhaps_virtual
    off = host_of(_NIC.replace("Enable+", "Enable-"))
    assert not off.functions[at("01:10.0")].perhaps_virtual


def test_a_text_without_groups_blames_no_boot_log() -> None:
    gpu = host_of(PORT.replace("\tIOMMU group: 1\n", "").replace("\tIOMMU group: 2\n", "")).functions[at("01:00.0")]
    assert gpu.group == Unknown("the text shows no IOMMU groups")


def _anywhere(value: object) -> object:
    """Return a capability wherever it lies: its bits tell no place."""
    return replace(value, offset=0, control_offset=6) if isinstance(value, Acs) else value


def _tells_no_more(shown: str, whole: str) -> None:
    all_told, told = host_of(whole), host_of(shown)
    for address, function in told.functions.items():
        for name in _FACTS:
            one, other = getattr(all_told.functions[address], name), getattr(function, name)
            if isinstance(other, Known):
                assert isinstance(one, Known), (address, name, shown)
                if isinstance(other.value, Bridge) and other.value.unread:
                    continue
                assert _anywhere(other.value) == _anywhere(one.value), (address, name, shown)


@pytest.mark.parametrize("mark", ["...", "\t(...)", "[snip]", "…", "  <--- snip --->", "[…]"])
def test_lines_that_somebody_left_out_are_no_facts(mark: str) -> None:
    whole = PORT.replace("[8086:1901]", "[8086:ffff]").replace("[10de:1b80]", "[10de:fffe]")
    lines = whole.splitlines()
    for first in range(1, len(lines) - 2, 2):
        for count in (1, 4, 9):
            left = lines[first : first + count]
            if "" in left or any(line.startswith("01:00.0") for line in left):
                continue
            _tells_no_more("\n".join([*lines[:first], mark, *lines[first + count :]]) + "\n", whole)


@pytest.mark.parametrize("after", range(1, 24))
def test_what_grep_prints_around_what_it_finds_is_not_all(after: int) -> None:
    whole = PORT.replace("[8086:1901]", "[8086:ffff]").replace("[10de:1b80]", "[10de:fffe]")
    lines = whole.splitlines()
    found = [
        number for number, line in enumerate(lines) if "PCI bridge" in line or "ACSCtl" in line or "VGA comp" in line
    ]
    shown: list[str] = []
    last = -1
    for number in found:
        if shown and number > last + 1:
            shown.append("--")
        start = max(number, last + 1)
        shown += lines[start : number + after + 1]
        last = max(last, number + after)
    _tells_no_more("\n".join([*shown, "--"]) + "\n", whole)


def test_details_after_greps_separator_are_not_the_function_s_above() -> None:
    host = host_of(
        "00:01.0 PCI bridge [0604]: X [8086:ffff]\n\tControl: I/O+ Mem+ BusMaster+\n--\n"
        "\tCapabilities: [140 v1] Access Control Services\n"
        "\t\tACSCap:\tSrcValid+ TransBlk+ ReqRedir+ CmpltRedir+ UpstreamFwd+ EgressCtrl- DirectTrans-\n"
        "\t\tACSCtl:\tSrcValid+ TransBlk- ReqRedir+ CmpltRedir+ UpstreamFwd+ EgressCtrl- DirectTrans-\n"
    )
    assert isinstance(host.functions[at("00:01.0")].acs, Unknown)


def test_a_short_listing_of_a_device_without_regions_does_not_make_it_conventional() -> None:
    lines = "01:00.0 Ethernet controller: X [8086:1572]\n\tSubsystem: X\n\tFlags: bus master, fast devsel, latency 0\n"
    nic = host_of(f"{lines}\nAnd that is all I have.\n").functions[at("01:00.0")]
    assert isinstance(nic.port_type, Unknown)
    assert isinstance(nic.acs, Unknown)
    assert isinstance(nic.bars, Unknown)
    whole = host_of(f"{lines}\tMemory at c0000000 (32-bit, non-prefetchable) [size=64K]\n\nAnd that is all I have.\n")
    assert isinstance(whole.functions[at("01:00.0")].port_type, Known)
    bridge = host_of("00:1f.0 ISA bridge [0601]: X [8086:a145]\n\tFlags: bus master, medium devsel, latency 0\n\n.\n")
    assert isinstance(bridge.functions[at("00:1f.0")].port_type, Known), "such bridges have neither"


_BITS = """\
\tCapabilities: [2a0 v1] Access Control Services
\t\tACSCap:\tSrcValid+ TransBlk+ ReqRedir+ CmpltRedir+ UpstreamFwd+ EgressCtrl- DirectTrans+
\t\tACSCtl:\tSrcValid- TransBlk- ReqRedir+ CmpltRedir+ UpstreamFwd+ EgressCtrl- DirectTrans-
"""


def test_what_a_pattern_picked_out_of_a_text_tells_what_it_shows_and_no_more() -> None:
    picked = "".join(f"40:01.{n} PCI bridge: AMD Some GPP Bridge (prog-if 00 [Normal decode])\n{_BITS}" for n in (1, 2))
    port = host_of(picked).functions[at("40:01.1")]
    assert isinstance(port.acs, Known)
    assert port.acs.value is not None
    assert "SrcValid-" in port.acs.value.control.lspci
    assert isinstance(port.port_type, Unknown), "not conventional: its Express capability is not among what was picked"
    assert isinstance(port.ats, Unknown)
    assert isinstance(port.driver, Unknown)
    whole = PORT.replace("[8086:1901]", "[8086:ffff]").replace("[10de:1b80]", "[10de:fffe]")
    for words in (
        ("ACS", "Access Control"),
        ("LnkSta", "LnkCap", "Express"),
        ("Control:", "Status:", "Express", "ATS"),
    ):
        kept = [line for line in whole.splitlines() if line[:2].isdigit() or any(word in line for word in words)]
        _tells_no_more("\n".join(kept) + "\n", whole)


_ENDPOINTS = """\
\tCapabilities: [60] Express (v2) Endpoint, MSI 00
\tCapabilities: [230 v1] Access Control Services
\t\tACSCap:\tSrcValid- TransBlk- ReqRedir- CmpltRedir- UpstreamFwd- EgressCtrl- DirectTrans-
\t\tACSCtl:\tSrcValid- TransBlk- ReqRedir- CmpltRedir- UpstreamFwd- EgressCtrl- DirectTrans-
"""


@pytest.mark.parametrize("words", [("Express", "Access", "ACSC"), ("Access", "ACSC"), ("ACSC",)])
def test_bits_below_a_function_whose_next_headings_a_pattern_left_out_are_not_its_own(words: tuple[str, ...]) -> None:
    port = "00:01.0 PCI bridge [0604]: X [8086:ffff]\n\tCapabilities: [40] Express (v2) Root Port (Slot+), MSI 00\n"
    text = "".join(line for line in (port + _ENDPOINTS).splitlines(True) if line[0] != "\t" or _has(line, words))
    assert isinstance(host_of(text).functions[at("00:01.0")].acs, Unknown)
    gpu = text.replace("PCI bridge [0604]", "VGA compatible controller [0300]").replace("Root Port (Slot+)", "Endpoint")
    assert isinstance(host_of(gpu).functions[at("00:01.0")].acs, Unknown), "of the next function too"


def test_a_capability_below_extended_ones_is_another_function_s() -> None:
    text = PORT.replace("\tKernel driver in use: pcieport\n", "\tCapabilities: [50] PCI Advanced Features\n")
    assert isinstance(host_of(text).functions[at("00:01.0")].ats, Unknown)


@pytest.mark.parametrize("express", ["", "\tCapabilities: [58] Express (v2) Root Port (Slot+), MSI 00\n"])
def test_bits_tell_of_acs_where_the_line_above_them_was_left_out(express: str) -> None:
    bits = _BITS.split("\n", 1)[1]
    port = host_of(f"40:01.1 PCI bridge: AMD Some GPP Bridge\n{express}{bits}").functions[at("40:01.1")]
    assert isinstance(port.acs, Known)
    assert port.acs.value is not None
    assert port.acs.value.control.lspci in bits
    assert isinstance(port.ats, Unknown)
    whole = host_of(f"40:01.1 PCI bridge: X\n\tControl: I/O+\n\tStatus: Cap+ >SERR- <PERR- INTx-\n{bits}\n")
    assert isinstance(whole.functions[at("40:01.1")].port_type, Unknown), "its other capabilities were left out too"


def test_acs_control_alone_does_not_tell_what_acs_can() -> None:
    control = _BITS.split("\n")[2]
    acs = host_of(f"40:01.1 PCI bridge: AMD Some GPP Bridge\n{control}\n").functions[at("40:01.1")].acs
    assert isinstance(acs, Unknown)
    assert "ACSCtl: without ACSCap:" in acs.reason


def _has(line: str, words: tuple[str, ...]) -> bool:
    return any(word in line for word in words)
