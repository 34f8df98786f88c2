"""The kernel and the platform: release, processor, virtual machine."""

from __future__ import annotations

import pytest

from atoll.host.fact import Known, Unknown, value_of
from atoll.host.model import KernelRelease, Platform
from host.handmade import Files, host_with


@pytest.mark.parametrize(
    ("files", "release"),
    [
        ({"proc/sys/kernel/osrelease": "6.12.9-amd64\n"}, KernelRelease(6, 12, "6.12.9-amd64")),
        ({"proc/version": "Linux version 5.4.0-42 (x@y)\n"}, KernelRelease(5, 4, "5.4.0-42")),
        ({"proc/version": "Linux version 7.3+ (x@y)\n"}, KernelRelease(7, 3, "7.3+")),
    ],
)
def test_releases(files: Files, release: KernelRelease) -> None:
    kernel = host_with(files).kernel
    assert isinstance(kernel, Known)
    assert (kernel.value, kernel.value.text) == (release, release.text)


@pytest.mark.parametrize("text", ["", "Linux", "Linux version x.y", "Windows version 6.1", "Linux version 6.x"])
def test_no_release(text: str) -> None:
    assert isinstance(host_with({"proc/version": text}).kernel, Unknown)


@pytest.mark.parametrize(
    ("files", "platform"),
    [
        ({"sys/class/iommu/dmar0/intel-iommu/cap": "1"}, Platform.X86),
        ({"sys/class/iommu/smmu3.0x9050000/x": ""}, Platform.ARM),
        ({"proc/cpuinfo": "processor : 0\nCPU implementer : 0x41\n"}, Platform.ARM),
        ({"proc/cpuinfo": "vendor_id : GenuineIntel\nflags : fpu\n"}, Platform.X86),
        ({"proc/cpuinfo": "cpu : POWER9\nplatform : PowerNV\n"}, Platform.POWERNV),
        ({"proc/cpuinfo": "cpu : POWER9\nplatform : pSeries\n"}, Platform.OTHER),
        ({"proc/version": "Linux version 6.1.0-9-arm64 (x)"}, Platform.ARM),
        ({"proc/device-tree/compatible": b"ibm,powernv\0"}, Platform.POWERNV),
        ({"proc/device-tree/compatible": b"linux,dummy-virt\0"}, Platform.OTHER),
        ({}, Platform.UNKNOWN),
    ],
)
def test_platforms(files: Files, platform: Platform) -> None:
    assert host_with(files).platform is platform


@pytest.mark.parametrize(("flags", "virtual"), [("fpu hypervisor vme", True), ("fpu hypervisors", False)])
def test_virtual_machines(flags: str, virtual: bool) -> None:
    one = f"vendor_id : GenuineIntel\nflags\t\t: {flags}\nbugs : hypervisor\n\n"
    assert host_with({"proc/cpuinfo": one * 300}).virtual is virtual
    assert not host_with({}).virtual


@pytest.mark.parametrize(
    ("older", "newer", "aborts"),
    [("Y", None, True), ("N", "Y", False), (None, "N", False), ("x", "Y", None), (None, None, None)],
)
def test_what_the_smmu_was_told_to_do_with_ids_of_nobody(
    older: str | None, newer: str | None, aborts: bool | None
) -> None:
    told = {"arm_smmu": older, "arm_smmu_v3": newer}
    files: Files = {f"sys/module/{name}/parameters/disable_bypass": f"{of}\n" for name, of in told.items() if of}
    assert value_of(host_with(files).smmu_aborts, None) is aborts


@pytest.mark.parametrize(
    ("unit", "older", "newer", "aborts"),
    [
        ("smmu3.0x0000000009050000", "N", None, None),
        ("smmu3.0x0000000009050000", "N", "Y", True),
        ("smmu3.0x0000000009050000", "Y", "N", False),
        ("smmu.0x000000002b400000", "Y", "N", True),
        ("smmu.0x000000002b400000", "N", "Y", False),
    ],
)
def test_an_smmu_obeys_its_own_driver(unit: str, older: str, newer: str | None, aborts: bool | None) -> None:
    """A kernel with both drivers built in shows the parameters of both, whichever SMMU is there."""
    told = {"arm_smmu": older, "arm_smmu_v3": newer}
    files: Files = {f"sys/module/{name}/parameters/disable_bypass": f"{of}\n" for name, of in told.items() if of}
    found = host_with({f"sys/class/iommu/{unit}/arm-smmu/x": "", **files})
    assert value_of(found.smmu_aborts, None) is aborts
