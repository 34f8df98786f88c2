"""XML in the midst of a post."""

from __future__ import annotations

import html
import sys
from collections.abc import Callable
from types import FrameType
from typing import Any, TypeVar

import pytest

from atoll.errors import InputError
from atoll.host.fact import Known, value_of
from atoll.host.model import Host
from atoll.host.records.content import read_record
from atoll.host.records.pasted.embedded import parted
from host.records.paste import at

_Result = TypeVar("_Result")
_DEVICE = """\
<device>
  <name>pci_0000_01_00_0</name>
  <path>/sys/devices/pci0000:00/0000:00:01.0/0000:01:00.0</path>
  <driver>
    <name>vfio-pci</name>
  </driver>
  <capability type='pci'>
    <class>0x030000</class>
    <domain>0</domain>
    <bus>1</bus>
    <slot>0</slot>
    <function>0</function>
    <product id='0x1b80'>Some GPU</product>
    <vendor id='0x10de'>Some Maker &amp; Sons</vendor>
    <iommuGroup number='2'>
      <address domain='0x0000' bus='0x01' slot='0x00' function='0x0'/>
      <address domain='0x0000' bus='0x01' slot='0x00' function='0x1'/>
    </iommuGroup>
  </capability>
</device>
"""
_OTHER = _DEVICE.replace("01_00_0<", "01_00_1<").replace("<function>0", "<function>1").replace("1b80", "10f0")


def _host(text: str) -> Host:
    host = read_record(text.encode(), name="post").host
    assert host is not None
    return host


@pytest.mark.parametrize(
    "text",
    [
        f"virsh # nodedev-dumpxml pci_0000_01_00_0\n{_DEVICE}\nvirsh # nodedev-dumpxml …\n{_OTHER}\nWhy?\n",
        f"It says < 2 groups & more:\n```xml\n{_DEVICE}{_OTHER}```\n",
        "So:\n" + "".join(f"> {line}\n" for line in (_DEVICE + _OTHER).splitlines()),
        f"<p>My device:</p>\n<pre>{html.escape(_DEVICE + _OTHER)}</pre>",
    ],
    ids=["prompts", "fences", "quoted", "page"],
)
def test_it_is_read_whatever_stands_around_it(text: str) -> None:
    host = _host(text)
    assert [str(address) for address in host.functions] == ["0000:00:01.0", "0000:01:00.0", "0000:01:00.1"]
    gpu = host.functions[at("01:00.0")]
    assert (gpu.vendor, gpu.device, value_of(gpu.driver, None), value_of(gpu.group, None)) == (
        0x10DE,
        0x1B80,
        "vfio-pci",
        2,
    )


def test_what_else_the_post_shows_counts_too() -> None:
    host = _host(
        f"00:01.0 PCI bridge [0604]: Some Port [8086:1901]\n\n{_DEVICE}\nLinux h 6.1.0-9-amd64 #1 SMP x86_64\n"
    )
    assert [str(address) for address in host.functions] == ["0000:00:01.0", "0000:01:00.0"]
    assert host.name == "post"
    assert isinstance(host.kernel, Known)


def test_a_post_about_tags_is_still_a_text() -> None:
    host = _host("I took the <device> out of:\n00:01.0 PCI bridge [0604]: Some Port [8086:1901]\n")
    assert [str(address) for address in host.functions] == ["0000:00:01.0"]


@pytest.mark.parametrize("opening", ["<device> ", "<topology> <system x='1'> <device> <nvidia_smi_log> "])
def test_what_opens_and_never_closes_costs_no_more_than_its_length(opening: str) -> None:
    text = f"See <topology> of\n{_DEVICE}{opening * 500}\n"
    found, searched = _searched(lambda: parted(text.encode(), name="post"))
    assert found is not None
    assert [document.decode().splitlines() for document in found[0]] == [_DEVICE.splitlines()]
    assert searched < 8 * len(text), "once for each kind of document, not for each that opens"


def _searched(call: Callable[[], _Result]) -> tuple[_Result, int]:
    """Return what a call returns, and how many characters it searches for a word, at the most."""
    lengths: list[int] = []

    def count(_: FrameType, event: str, called: Any) -> None:
        if event == "c_call" and called.__name__ == "find":
            lengths.append(len(called.__self__))

    before = sys.getprofile()
    sys.setprofile(count)
    try:
        return call(), sum(lengths)
    finally:
        sys.setprofile(before)


def test_a_damaged_document_takes_nothing_from_the_text_around_it() -> None:
    damaged = _DEVICE.replace("</driver>", "")
    host = _host(f"00:01.0 PCI bridge [0604]: Some Port [8086:1901]\n\n{damaged}\n")
    assert [str(address) for address in host.functions] == ["0000:00:01.0"]
    with pytest.raises(InputError, match="no XML that can be read"):
        read_record(f"Why?\n{damaged}\n".encode(), name="post")


@pytest.mark.parametrize("devices", [_DEVICE, _DEVICE + _OTHER], ids=["one", "two"])
def test_text_below_documents_with_which_it_begins_counts_too(devices: str) -> None:
    host = _host(f"{devices}$ lspci -nn\n00:14.0 USB controller [0c03]: Some Controller [8086:a12f]\n")
    assert "0000:00:14.0" in {str(address) for address in host.functions}


def test_declarations_between_documents_are_no_text() -> None:
    declared = "<?xml version='1.0'?>\n"
    host = _host(f"{declared}{_DEVICE}\n{declared}{_OTHER}")
    assert {"0000:01:00.0", "0000:01:00.1"} <= {str(address) for address in host.functions}


def test_more_documents_than_a_machine_has_are_refused() -> None:
    card = "<object type='PCIDev' pci_busid='0000:01:00.0' pci_type='0302 [10de:1db5] [10de:1249] a1'/>"
    one = f"<topology><object type='Machine'>{card}</object></topology>\n"
    with pytest.raises(InputError, match="65 XML documents"):
        read_record(f"Why?\n{one * 65}".encode(), name="post")
    assert [str(address) for address in _host(f"Why?\n{one * 64}").functions] == ["0000:01:00.0"]


def test_node_devices_of_usb_hold_a_number_called_so() -> None:
    hub = (
        "<device><name>usb_1_0</name><capability type='usb_device'><bus>1</bus><device>1</device></capability></device>"
    )
    for around in ("", "Why?\n", "<device>1</device>, 1 < 2\n"):
        assert _host(f"{around}{hub}\n{_DEVICE}").functions.keys() == _host(_DEVICE).functions.keys()
