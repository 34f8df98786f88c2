"""The platform of a machine of which a list of functions is all there is."""

from __future__ import annotations

import pytest

from atoll.host.model import Platform
from atoll.host.records.platform import both_platforms
from atoll.isolation.groups import predict
from host.records.paste import host_of

CARD = "01:00.0 3D controller [0302]: NVIDIA Corporation Device [10de:1db1]\n"


@pytest.mark.parametrize(
    ("bridge", "platform"),
    [
        ("Host bridge [0600]: X [8086:3ec2]", Platform.X86),
        ("Host bridge [0600]: X [1022:1450]", Platform.X86),
        ("Host bridge [0600]: X [1d94:1450]", Platform.X86),
        ("Host bridge [0600]: X [1d17:31b0]", Platform.X86),
        ("Host bridge [0600]: X [1d0f:0200]", Platform.UNKNOWN),
        ("PCI bridge [0604]: X [8086:1901]", Platform.UNKNOWN),
        ("PCI bridge [0604]: IBM POWER9 Host Bridge (PHB4) [1014:04c1]", Platform.POWERNV),
        ("PCI bridge [0604]: X [1014:0001]", Platform.UNKNOWN),
        ("PCI bridge [0604]: NVIDIA Corporation Device [10de:22b2]", Platform.ARM),
        ("PCI bridge: NVIDIA Corporation Device 22b8", Platform.ARM),
        ("PCI bridge: NVIDIA Corporation Device 22b9", Platform.ARM),
        ("PCI bridge [0604]: Ampere Computing, LLC Altra PCI Express Root Port a0 [1def:e101]", Platform.ARM),
        ("PCI bridge [0604]: Huawei HiSilicon PCIe Root Port with Gen4 [19e5:a120]", Platform.ARM),
        ("PCI bridge [0604]: NVIDIA Corporation X [10de:1af1]", Platform.UNKNOWN),
    ],
)
def test_bridges_tell_it(bridge: str, platform: Platform) -> None:
    assert host_of(f"00:00.0 {bridge}\n{CARD}").platform is platform


@pytest.mark.parametrize(
    ("line", "platform"),
    [
        ("[    0.000000] Using PowerNV machine description", Platform.POWERNV),
        ("LE PAGE_SIZE=64K MMU=Radix SMP NR_CPUS=2048 NUMA PowerNV", Platform.POWERNV),
        ("[    0.0] Hardware name: 8335-GTW POWER9 0x4e1202 opal:skiboot-v6.5 PowerNV", Platform.POWERNV),
        ("[    0.185896] EEH: PowerNV platform initialized", Platform.POWERNV),
        ("[    1.2] cpuidle-powernv: Default stop: psscr = 0x0330,mask=0x3003ff", Platform.POWERNV),
        ("[    1.6] pci 0005:02     : [PE# fc] Enabling 64-bit DMA bypass", Platform.POWERNV),
        ("machine\t\t: PowerNV 8335-GTH", Platform.POWERNV),
        ("The same card works in our PowerNV machine.", Platform.UNKNOWN),
    ],
)
def test_only_the_kernel_tells_of_powernv(line: str, platform: Platform) -> None:
    assert host_of(f"{line}\n{CARD}").platform is platform


@pytest.mark.parametrize(
    "line",
    [
        "[    0.000000] Using PowerNV machine description",
        "Linux host 6.8.0 #1 SMP x86_64 GNU/Linux",
        "[    0.1] DMAR: Intel(R) Virtualization Technology for Directed I/O",
    ],
)
def test_of_two_machines_it_is_unknown(line: str) -> None:
    assert host_of(f"{line}\n00:00.0 PCI bridge [0604]: X [1def:e101]\n{CARD}").platform is Platform.UNKNOWN


UNAME = "Linux host 6.8.0 #1 SMP ppc64le GNU/Linux\n"


@pytest.mark.parametrize(
    ("text", "platform"),
    [
        (UNAME + CARD, Platform.OTHER),
        (UNAME + "[    0.1] EEH: PowerNV platform initialized\n" + CARD, Platform.POWERNV),
        (UNAME + "00:00.0 PCI bridge [0604]: IBM POWER9 Host Bridge (PHB4) [1014:04c1]\n" + CARD, Platform.POWERNV),
    ],
)
def test_the_name_of_powers_processors_tells_no_bare_metal(text: str, platform: Platform) -> None:
    assert host_of(text).platform is platform


def test_groups_of_what_may_be_a_partition_of_power_are_not_predicted() -> None:
    """Functions below one host bridge may be in a group, whatever they are (arch/powerpc/kernel/iommu.c)."""
    group = "IOMMU Group 0:\n\t00:01.0 Ethernet controller [0200]: Red Hat, Inc. Virtio network device [1af4:1000]\n"
    group += "\t00:02.0 SCSI storage controller [0100]: Red Hat, Inc. Virtio SCSI [1af4:1004]\n"
    assert not predict(host_of(group)).undetermined
    assert len(predict(host_of(UNAME + group)).undetermined) == 2


@pytest.mark.parametrize(
    ("one", "other", "both"),
    [
        (Platform.OTHER, Platform.POWERNV, Platform.POWERNV),
        (Platform.UNKNOWN, Platform.ARM, Platform.ARM),
        (Platform.X86, Platform.OTHER, None),
        (Platform.X86, Platform.POWERNV, None),
    ],
)
def test_what_two_sources_tell(one: Platform, other: Platform, both: Platform | None) -> None:
    assert both_platforms(one, other) is both
    assert both_platforms(other, one) is both
