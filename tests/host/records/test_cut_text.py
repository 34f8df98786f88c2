"""Texts that end too early, and texts that name what they do not tell: neither is a fact that something is absent."""

from __future__ import annotations

import pytest

from atoll.host.fact import Known, Unknown
from atoll.isolation.groups import predict
from host.records.paste import PORT, at, host_of

_FACTS = (
    *("header", "multifunction", "port_type", "command", "acs", "ats", "pasid", "sriov", "bridge", "group"),
    *("driver", "numa_node", "flr", "bars", "serial", "power_state"),
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
