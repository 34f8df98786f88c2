"""Machines that people pasted: what the kernel's rules give against the groups they recorded."""

from __future__ import annotations

from pathlib import Path

import pytest

from atoll.host.fact import Known, Unknown
from atoll.host.model import Host, Platform
from atoll.host.records.merge.hosts import merge
from atoll.isolation.groups import predict
from atoll.pci.acs import AcsFlag
from host.records.paste import MACHINES, at, host_of, recorded_text

_CERTAIN = {
    "mac-cometlake-titanridge": 21,
    "msi-b550-tomahawk-navi10": 25,
    "power9-talos2-radeon": 6,
}
"""Groups of the machines of which the record shows all that decides."""


def _host(folder: Path) -> Host:
    texts = sorted(
        (path for path in folder.iterdir() if path.name != "SOURCE.txt"), key=lambda p: "lspci" not in p.name
    )
    return merge([host_of(recorded_text(path), path.name) for path in texts])


@pytest.mark.parametrize("folder", sorted(MACHINES.iterdir()), ids=lambda folder: folder.name)
def test_prediction_is_the_record_or_says_what_is_missing(folder: Path) -> None:
    host = _host(folder)
    prediction = predict(host)
    assert isinstance(host.groups, Known)
    recorded = {address: group.members for group in host.groups.value.values() for address in group.members}
    predicted = {address: group for group in prediction.groups for address in group}
    missing = dict(prediction.undetermined)
    assert recorded
    assert [a for a, group in recorded.items() if predicted.get(a) != group and a not in missing] == []
    if folder.name in _CERTAIN:
        assert not missing
        assert len(prediction.groups) == _CERTAIN[folder.name]


def test_numberless_names_of_an_amd_desktop_decide_everything() -> None:
    host = _host(MACHINES / "msi-b550-tomahawk-navi10")
    assert host.platform is Platform.X86
    assert not predict(host).undetermined


def test_dword_registers_come_from_the_dump_and_not_from_the_text() -> None:
    host = _host(MACHINES / "ecs-h310ch5-kabylake-hex")
    port = host.functions[at("00:1c.0")]
    assert (port.vendor, port.device) == (0x8086, 0xA294)
    assert isinstance(port.acs, Known)
    assert port.acs.value is not None
    # The text beside the dump says ReqRedir-: it shows the upper half of the capability.
    assert port.acs.value.control == AcsFlag.SV | AcsFlag.RR | AcsFlag.CR
    assert port.acs.value.control_offset == port.acs.value.offset + 8
    assert host.interrupt_remapping == Known(True, "dmesg.log.xz: boot log")
    assert isinstance(host.kernel, Known)
    assert (host.kernel.value.major, host.kernel.value.minor) == (6, 1)


def test_without_the_dump_such_registers_are_unknown() -> None:
    host = _host(MACHINES / "xeon-e3v6-kabylake")
    port = host.functions[at("00:1c.0")]
    assert isinstance(port.acs, Unknown)
    assert "misreads" in port.acs.reason
    assert at("00:1c.0") in dict(predict(host).undetermined)


def test_power9_is_known_by_its_host_bridges() -> None:
    assert _host(MACHINES / "power9-talos2-radeon").platform is Platform.POWERNV
