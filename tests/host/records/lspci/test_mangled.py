"""What ``lspci -v…-vvv`` prints, whatever grep, mailers, forums and terminals did to it."""

from __future__ import annotations

import html
import quopri

import pytest

from atoll.errors import InputError
from atoll.host.fact import Known, Unknown, value_of
from atoll.host.records.content import read_record
from atoll.host.records.merge.hosts import merge
from atoll.isolation.groups import predict
from atoll.pci.header import PortType
from host.records.paste import PORT, at, host_of, lspci, one


def _colour(text: str) -> str:
    """What grep --color does."""
    return text.replace("00:01.0 P", "\x1b[01;31m\x1b[K00:01.0\x1b[m\x1b[K P").replace("ACSCtl", "\x1b[1mACSCtl\x1b[0m")


def _wrapped(text: str, width: int) -> str:
    lines = []
    for line in text.splitlines():
        words, row = line.split(" "), ""
        for word in words:
            if row and len(row) + len(word) > width:
                lines.append(row)
                row = word
            else:
                row = f"{row} {word}" if row else word
        lines.append(row)
    return "\n".join(lines) + "\n\n"


def _bytes(text: str | bytes) -> bytes:
    return text.encode() if isinstance(text, str) else text


@pytest.mark.parametrize(
    "change",
    [
        lambda text: "\n".join(f"> {line}" for line in text.splitlines()) + "\n\n",
        lambda text: "\n".join(f">>> {line}" for line in text.splitlines()) + "\n\n",
        lambda text: "\n".join(f"> > {line}" for line in text.splitlines()) + "\n\n",
        lambda text: "\n".join(f">{line.strip()}" for line in text.splitlines()) + "\n\n",
        lambda text: text.replace("\n", "\r\n"),
        lambda text: text.replace("\t", "        "),
        lambda text: text.replace("\t", ""),
        lambda text: "\n".join(f"    {line}" for line in text.splitlines()) + "\n\n",
        lambda text: _wrapped(text, 72),
        lambda text: "\n".join(f"> {line}" for line in _wrapped(text, 60).splitlines()) + "\n\n",
        lambda text: "\ufeff" + text,
        lambda text: _colour(text),
        lambda text: f"Script started\n\x1b]0;root@x: ~\x07\x1b[?2004hroot@x:~# lspci -vvv\r\r\n{text}",
        lambda text: f"<pre><code>{html.escape(text)}</code></pre>\n",
        lambda text: html.escape(text).replace("\n", "<br>\n"),
        lambda text: f"<!DOCTYPE html>\n<html><body><p>Hi</p><pre>{html.escape(text)}</pre></body></html>\n",
        lambda text: f"<details><summary>lspci</summary>\n\n```\n{text}\n```\n\n</details>",
        lambda text: quopri.encodestring(text.encode()),
        lambda text: text.encode("utf-16-le"),
        lambda text: "".join(f"{number:6d}\t{line}\n" for number, line in enumerate(text.split("\n"), 1)),
        lambda text: "".join(f"{number}:{line}\n" for number, line in enumerate(text.split("\n"), 996)),
        lambda text: "".join(f"+{line}\n" for line in text.split("\n")),
        lambda text: "".join(f"| {line}\n" for line in text.split("\n")),
        lambda text: "".join(f"Nov 27 11:00:01 pve lspci[123]: {line}\n" for line in text.split("\n")),
        lambda text: text.replace("00:01.0 P", "- 00:01.0 P").replace("01:00.0 V", "- 01:00.0 V"),
        lambda text: "Hello,\n\nhere is my lspci:\n" + text + "\nRegards\n",
        lambda text: text.replace("00:01.0 P", "0000:00:01.0 P").replace("01:00.0 V", "0000:01:00.0 V"),
        lambda text: text.replace("01:00.0 V", "00:01.0/01:00.0 V"),
        lambda text: text.replace("01:00.0 V", "00:01.0/00.0 V"),
    ],
)
def test_what_people_and_mailers_do_changes_nothing(change: object) -> None:
    assert callable(change)
    plain, changed = host_of(PORT), read_record(_bytes(change(PORT)), name="changed").host
    assert changed is not None
    assert list(changed.functions) == list(plain.functions)
    for address, function in plain.functions.items():
        other = changed.functions[address]
        for name in ("vendor", "device", "class_code", "parent"):
            assert getattr(other, name) == getattr(function, name)
        for name in ("acs", "port_type", "bridge", "bars", "flr", "ats", "command", "group", "power_state", "pending"):
            one_fact, other_fact = getattr(function, name), getattr(other, name)
            assert isinstance(other_fact, Known) == isinstance(one_fact, Known), (name, other_fact)
            if isinstance(one_fact, Known):
                assert other_fact.value == one_fact.value, name


def test_other_texts_that_begin_with_an_address_are_no_functions() -> None:
    for text in ("01:00.0 is my GPU\n", "00:01.0: hello\n", "01:00.0 -> 00:01.0: path\n", "12:34:56.7 nothing\n"):
        with pytest.raises(InputError):
            host_of(text)


def test_what_is_cut_off_is_unknown() -> None:
    cut = "\tStatus: Cap+ 66MHz- UDF- FastB2B- ParErr- DEVSEL=fast >TAbort-"
    function = one(f"00:01.0 PCI bridge: Intel Corporation Device a340\n\tControl: I/O- Mem+ BusMaster+\n{cut}\n")
    for fact in (function.acs, function.port_type, function.header, function.bridge):
        assert isinstance(fact, Unknown)
    assert function.is_port


def test_a_bus_without_its_bridge_leaves_the_groups_open() -> None:
    text = PORT[PORT.index("01:00.0") :]
    function = one(text, "01:00.0")
    assert (function.parent, function.parent_told) == (None, False)
    assert "what stands above bus 0000:01" in dict(predict(host_of(text)).undetermined)[at("01:00.0")]


@pytest.mark.parametrize("first", ["{n:02x}:00.0", "{n}:00.0", "000{n}:00:00.0", "{n}000:00:00.0"])
def test_a_short_list_is_not_taken_for_a_numbered_one(first: str) -> None:
    places = [first.format(n=10 + n if first == "{n}:00.0" else 1 + n) for n in range(8)]
    host = host_of("".join(f"{place} 3D controller [0302]: NVIDIA X [10de:1db1] (rev a1)\n" for place in places))
    assert list(host.functions) == [at(place) for place in places]


def test_bus_numbers_that_grep_left_tell_what_stands_above() -> None:
    text = "".join(line for line in PORT.splitlines(True) if line[:1].isalnum() or "Bus:" in line)
    found = host_of(text).functions
    assert found[at("01:00.0")].parent == at("00:01.0")
    bridge = found[at("00:01.0")].bridge
    assert isinstance(bridge, Known)
    assert bridge.value is not None
    assert bridge.value.unread, "its windows are not known to be none"
    assert isinstance(found[at("00:01.0")].acs, Unknown)
    assert isinstance(found[at("01:00.0")].header, Unknown)


def test_a_machine_without_its_first_function_is_an_excerpt() -> None:
    first = "00:00.0 Host bridge [0600]: Some Bridge [8086:3ec2]\n"
    assert host_of(PORT).excerpt
    assert not host_of(first + PORT).excerpt
    # AMD's is in no group; a long list that begins right after it is whole.
    amd = "".join(f"/sys/kernel/iommu_groups/{n}/devices/0000:00:{n + 1:02x}.0\n" for n in range(12))
    assert not host_of(amd).excerpt
    assert host_of(amd[: amd.index("0000:00:05.0")]).excerpt
    assert host_of(amd.replace("00:01.0", "00:1f.0")).excerpt
    assert not merge([host_of(PORT, "one"), host_of(first, "two")]).excerpt
    assert not host_of("0004:00:00.0 PCI bridge [0604]: IBM Host Bridge [1014:04c1]\n").excerpt


def test_what_stands_above_a_conventional_bus_an_excerpt_may_leave_out() -> None:
    """What was asked for by address: the port above a bridge to PCI, or that bridge, may be the one left out."""
    bridge = lspci(
        "Bus: primary=08, secondary=09, subordinate=09, sec-latency=32",
        "Capabilities: [80] Express (v1) PCI-Express to PCI/PCI-X Bridge, MSI 00",
        heading="08:00.0 PCI bridge [0604]: ASPEED Technology, Inc. AST1150 PCI-to-PCI Bridge [1a03:1150]",
    )
    card = lspci(
        "Capabilities: [40] Power Management version 3",
        heading="09:00.0 VGA compatible controller [0300]: ASPEED Technology, Inc. Graphics [1a03:2000]",
    )
    uncore = lspci(
        "Control: I/O- Mem- BusMaster- SpecCycle- MemWINV- VGASnoop- ParErr- Stepping- SERR- FastB2B- DisINTx-",
        "Status: Cap- 66MHz- UDF- FastB2B- ParErr- DEVSEL=fast >TAbort- <TAbort- <MAbort- >SERR- <PERR- INTx-",
        heading="ff:08.0 System peripheral [0880]: Intel Corporation Xeon QPI Link 0 [8086:6f80]",
    )
    first = "00:00.0 Host bridge [0600]: Intel Corporation Device [8086:6f00]\n\n"
    excerpt = host_of(uncore).functions[at("ff:08.0")]
    assert value_of(excerpt.port_type, None) is PortType.CONVENTIONAL
    assert not excerpt.parent_told
    assert {a.bus: f.parent_told for a, f in host_of(bridge + card).functions.items()} == {8: False, 9: True}
    assert {a for a, _ in predict(host_of(bridge + card)).undetermined} == {at("08:00.0"), at("09:00.0")}
    assert not host_of(card).functions[at("09:00.0")].parent_told
    assert not host_of(first + bridge).functions[at("08:00.0")].parent_told, "it has a link, so a port stands above"
    assert host_of(first + uncore).functions[at("ff:08.0")].parent_told, "Xeons have root buses for these"
    asleep = "00:1c.0 PCI bridge [0604]: Intel Corporation Device [8086:8c10] (rev ff) (prog-if ff)\n"
    asleep += "\t!!! Unknown header type 7f\n\n"
    assert not host_of(first + asleep + uncore).functions[at("ff:08.0")].parent_told, "it may be what stands above"
    assert host_of(first + "0001:" + asleep + uncore).functions[at("ff:08.0")].parent_told
    beside = lspci(
        "Capabilities: [40] Express (v2) Root Complex Integrated Endpoint, MSI 00",
        heading="ff:05.0 System peripheral [0880]: Intel Corporation VT-d [8086:2034]",
    )
    told = host_of(beside + uncore).functions[at("ff:08.0")]
    assert told.parent_told, "what is integrated stands beside it, so it is a root bus"


@pytest.mark.parametrize("word", ["Control:", "Status:"])
def test_a_function_without_one_of_two_lines_that_come_together_may_lack_others(word: str) -> None:
    """``show_verbose`` prints both with -vv: who shows one picked it, and may have left out capabilities as well."""
    text = "00:02.0 Ethernet controller [0200]: Intel Corporation I210 [8086:1533] (rev 03)\n"
    text += "\tControl: I/O- Mem+ BusMaster+ SpecCycle- MemWINV- VGASnoop- ParErr- Stepping- SERR- FastB2B- DisINTx-\n"
    text += "\tStatus: Cap- 66MHz- UDF- FastB2B- ParErr- DEVSEL=fast >TAbort- <TAbort- <MAbort- >SERR- <PERR- INTx-\n"
    text += "\tRegion 0: Memory at f7c00000 (32-bit, non-prefetchable) [size=1M]\n\n"
    lines = text.splitlines(keepends=True)
    picked = "".join(line for line in lines if word not in line)
    whole, left = (host_of(f"{one}{PORT}").functions[at("00:02.0")] for one in (text, picked))
    assert (whole.acs, whole.cxl_cache) == (Known(None, whole.acs.source), Known(False, whole.acs.source))  # type: ignore[union-attr]
    assert isinstance(left.acs, Unknown)
    assert isinstance(left.cxl_cache, Unknown)


def test_a_detail_beside_an_address_is_no_class() -> None:
    host = host_of(
        "$ for d in …; do echo $d $(lspci -vvs $d | grep -E 'NUMA|group|in use'); done\n03:00.0 IOMMU group: 14\n"
        "c3:00.0 NUMA node: 1\nc4:00.0 Kernel driver in use: nvme\n\n05:00.0 Bridge: NVIDIA Corporation Device 1af1\n"
    )
    first, second, bridge = (host.functions[at(a)] for a in ("03:00.0", "c3:00.0", "05:00.0"))
    assert not first.label
    assert not first.class_told
    assert value_of(first.group, None) == 14
    assert value_of(second.numa_node, None) == 1
    assert isinstance(second.driver, Unknown), "its line is not there"
    assert (bridge.device, bridge.class_code >> 8) == (0x1AF1, 0x0680)


@pytest.mark.parametrize("mark", ["+        ", "+\t", "*   ", "#  ", "- "])
def test_a_function_after_a_mark_and_blanks_is_one(mark: str) -> None:
    line = "00:03.2 PCI bridge [0604]: Advanced Micro Devices, Inc. [AMD] Device [1022:1453]\n"
    other = "00:04.0 Host bridge [0600]: Advanced Micro Devices, Inc. [AMD] Device [1022:1452]\n"
    assert list(host_of(f"a review:\n{mark}{line}and\n{mark}{other}").functions) == [at("00:03.2"), at("00:04.0")]
