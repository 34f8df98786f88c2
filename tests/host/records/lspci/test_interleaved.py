"""What pciutils says on standard error, mixed into what lspci prints by ``2>&1``, changes nothing of what is told."""

from __future__ import annotations

import pytest

from atoll.host.fact import Known
from atoll.host.records.lspci.interleaved import without_messages
from host.records.paste import PORT, at, host_of

_VPD = "pcilib: sysfs_read_vpd: read failed: No such device\n"
_LABEL = "pcilib: Error reading /sys/bus/pci/devices/0000:00:08.3/label: Operation not permitted\n"
_MODULES = "lspci: Unable to load libkmod resources: error -2\n"
_FACTS = ("port_type", "acs", "ats", "group", "bridge", "multifunction", "driver", "class_code", "vendor", "device")


@pytest.mark.parametrize("message", [_VPD, _LABEL, _VPD + _LABEL, _MODULES])
@pytest.mark.parametrize("start", range(2))
def test_a_message_anywhere_changes_nothing(message: str, start: int) -> None:
    whole = host_of(PORT)
    for place in range(start + 1, len(PORT), 23):
        host = host_of(PORT[:place] + message + PORT[place:])
        assert host.functions.keys() == whole.functions.keys(), PORT[:place][-60:]
        for address, function in whole.functions.items():
            for name in _FACTS:
                one, other = getattr(function, name), getattr(host.functions[address], name)
                same = one.value == other.value if isinstance(one, Known) and isinstance(other, Known) else one == other
                assert same, (PORT[:place][-60:], name, one, other)


def test_a_group_that_a_message_parts_is_no_missing_one() -> None:
    gpu = host_of(PORT.replace("\tIOMMU group: 2", f"\tIOMMU gr{_VPD}oup: 2")).functions[at("01:00.0")]
    assert gpu.group == Known(2, gpu.group.source if isinstance(gpu.group, Known) else "")


def test_a_function_is_no_rest_of_a_line() -> None:
    lines = [f"It says {_VPD.rstrip()}", "00:01.0 PCI bridge [0604]: Intel Corporation Some Port [8086:1901] (rev 05)"]
    assert list(without_messages(lines)) == ["It says ", lines[1]]
    assert list(without_messages([_VPD.rstrip(), "\tIOMMU group: 1"])) == [_VPD.rstrip(), "\tIOMMU group: 1"]
