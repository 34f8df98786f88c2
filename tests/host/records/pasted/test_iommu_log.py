"""What boot logs tell of IOMMUs."""

from __future__ import annotations

from dataclasses import replace
from time import process_time

import pytest

from atoll.errors import InputError
from atoll.host.fact import Known, Unknown, value_of
from atoll.host.groups import ONLY_ASKED
from atoll.host.model import IommuUnit, Platform
from atoll.host.records.merge.hosts import merge
from atoll.host.records.pasted.iommu_log import IommuLog
from host.records.paste import PORT, host_of


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ("DMAR-IR: Enabled IRQ remapping in x2apic mode", True),
        ("Enabled IRQ remapping in x2apic mode", True),
        ("Enabled IRQ remapping in xapic mode", True),
        ("AMD-Vi: Interrupt remapping enabled", True),
        ("AMD-Vi: [Firmware Bug]: : No southbridge IOAPIC found\nAMD-Vi: Disabling interrupt remapping", False),
        ("DMAR-IR: Failed to enable irq remapping. You are vulnerable to irq-injection attacks.", False),
        ("Failed to enable irq remapping.  You are vulnerable to irq-injection attacks.", False),
        ("Failed to enable irq remapping\nEnabled IRQ remapping in x2apic mode", False),
        ("Enabled IRQ remapping in x2apic mode\nFailed to enable irq remapping", False),
        ("Not enabling interrupt remapping due to skipped IO-APIC setup", False),
        ("x2apic: IRQ remapping doesn't support X2APIC mode", None),
        ("DMAR-IR: IRQ remapping was enabled on dmar0 but we are not in kdump mode", None),
        ("you want interrupt remapping enabled in the firmware", None),
    ],
)
def test_interrupt_remapping(lines: str, expected: bool | None) -> None:
    log = "".join(f"[    0.2] {line}\n" for line in lines.splitlines())
    assert value_of(host_of(log + PORT).interrupt_remapping, None) is expected


@pytest.mark.parametrize(
    "said",
    [
        'The wiki wants "DMAR-IR: Enabled IRQ remapping in x2apic mode" there, and I see nothing.',
        "I never get DMAR-IR: Enabled IRQ remapping in x2apic mode",
        "$ dmesg | grep 'Enabled IRQ remapping in x2apic mode'",
        "should be AMD-Vi: Interrupt remapping enabled",
        "if it says AMD-Vi: Interrupt remapping enabled, all is well",
    ],
)
def test_what_somebody_says_of_a_message(said: str) -> None:
    assert isinstance(host_of(f"{said}\n{PORT}").interrupt_remapping, Unknown)


@pytest.mark.parametrize(
    "line",
    [
        "DMAR-IR: Enabled IRQ remapping in x2apic mode",
        "Nov 29 10:00:00 host kernel: DMAR-IR: Enabled IRQ remapping in xapic mode",
        "Nov 29 10:00:00 host kernel: [    0.100] AMD-Vi: Interrupt remapping enabled",
        "<6>[    0.100] dmar: Enabled IRQ remapping in x2apic mode",
        "12:[    0.100] DMAR-IR: Enabled IRQ remapping in x2apic mode",
        "kern  :info  : [    0.100] AMD-Vi: Interrupt remapping enabled",
        "Enabled IRQ remapping in x2apic mode",
    ],
)
def test_messages_as_logs_print_them(line: str) -> None:
    assert host_of(f"{line}\n{PORT}").interrupt_remapping == Known(True, "paste: boot log")


def test_the_command_line_of_xen_is_not_the_kernels() -> None:
    log = "(XEN) Command line: iommu=pt intremap=off\n[    0.0] Kernel command line: root=/dev/sda1 ro\n"
    assert value_of(host_of(log + PORT).command_line, None) == "root=/dev/sda1 ro"


@pytest.mark.parametrize(
    ("lines", "platform", "kinds"),
    [
        ("DMAR: IOMMU enabled", Platform.X86, []),
        ("DMAR: Intel(R) Virtualization Technology for Directed I/O", Platform.X86, ["intel"]),
        ("PCI-DMA: Intel(R) Virtualization Technology for Directed I/O", Platform.X86, ["intel"]),
        ("DMAR: dmar0: Using Queued invalidation", Platform.X86, ["intel"]),
        ("pci 0000:00:00.2: AMD-Vi: Found IOMMU at 0000:00:00.2 cap 0x40", Platform.X86, ["amd"]),
        ("perf/amd_iommu: Detected AMD IOMMU #0 (2 banks, 4 counters/bank).", Platform.X86, ["amd"]),
        ("ACPI: DMAR 0x000000007B7E7000 000100 (v01 INTEL  KBL 00000001 INTL 00000001)", Platform.X86, []),
        ("ACPI: IVRS 0x00000000CA7D1000 0000D0 (v02 AMD AmdTable 00000001 AMD 00000001)", Platform.X86, []),
        ("ACPI: IORT 0x00000000BF2D0000 000C54 (v00 HISI HIP08 00000000 INTL 20170929)", Platform.ARM, []),
        ("arm-smmu-v3 arm-smmu-v3.0.auto: ias 48-bit, oas 48-bit (features 0x1eff)", Platform.ARM, ["smmu"]),
        ("arm-smmu 5000000.iommu: SMMUv2 with:", Platform.ARM, ["smmu"]),
    ],
)
def test_which_iommus_are_in_use(lines: str, platform: Platform, kinds: list[str]) -> None:
    host = host_of(f"[    0.2] {lines}\n02:00.0 Ethernet controller [0200]: X [8086:10d3]\n")
    assert host.platform is platform
    assert [unit.kind for unit in host.iommu_units] == kinds


def test_what_the_command_line_asks_for_is_there_where_groups_are() -> None:
    host = host_of("[ 0.1] DMAR: IOMMU enabled\n[ 0.2] pci 0000:00:01.0: Adding to iommu group 1\n")
    assert [unit.kind for unit in host.iommu_units] == ["intel"]


@pytest.mark.parametrize(
    ("beside", "only"),
    [
        ("iommu: Default domain type: Passthrough (set via kernel command line)", True),
        ("DMAR-IR: Enabled IRQ remapping in x2apic mode", False),
        ("DMAR: DRHD base: 0x000000fed90000 flags: 0x0", False),
        ("DMAR: Intel(R) Virtualization Technology for Directed I/O", False),
    ],
)
def test_that_the_iommu_was_asked_for_tells_of_none(beside: str, only: bool) -> None:
    host = host_of(f"[ 0.1] DMAR: IOMMU enabled\n[ 0.2] {beside}\n02:00.0 Ethernet controller [0200]: X [8086:10d3]\n")
    assert isinstance(host.groups, Unknown)
    assert (ONLY_ASKED in host.groups.reason) is only


def test_units_of_a_boot_log_are_those_that_sysfs_names() -> None:
    log = host_of("[ 0.1] DMAR: Intel(R) Virtualization Technology for Directed I/O\n" + PORT)
    files = replace(log, iommu_units=(IommuUnit("dmar0", "intel", (("address", "fed90000"),)),))
    assert [unit.name for unit in merge([log, files]).iommu_units] == ["dmar0"]


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        ("Passthrough (set via kernel command line)", True),
        ("Passthrough", True),
        ("Translated", False),
        ("Trans", None),
    ],
)
def test_pass_through_by_default(told: str, expected: bool | None) -> None:
    log = f"[    0.4] iommu: Default domain type: {told} \n[    0.5] pci 0000:00:01.0: Adding to iommu group 1\n"
    assert value_of(host_of(log).passthrough, None) is expected


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ("DMAR: Hardware identity mapping for device 0000:01:00.0", "identity"),
        ("IOMMU: hardware identity mapping for device 0000:01:00.0", "identity"),
        ("DMAR: Software identity mapping for device 0000:01:00.0", "identity"),
        ("DMAR: Hardware identity mapping for device 0000:02:00.0", ""),
        (
            "DMAR: Hardware identity mapping for device 0000:01:00.0\n"
            "DMAR: 32bit 0000:01:00.0 uses non-identity mapping",
            "",
        ),
        ("DMAR: 64bit 0000:01:00.0 uses identity mapping", "identity"),
        ("iommu: Using direct mapping for device 0000:01:00.0", "identity"),
        ("pci 0000:01:00.0: Using iommu direct mapping", "identity"),
        ("pci 0000:01:00.0: Using iommu dma mapping", "DMA"),
        ("pci 0000:01:00.0: Using iommu direct mapping\nxhci_hcd 0000:01:00.0: Using iommu dma mapping", "DMA"),
        (
            "pci 0000:01:00.0: Using iommu direct mapping\n"
            "ehci-pci 0000:01:00.0: DMAR: 32bit DMA uses non-identity mapping",
            "",
        ),
        ("pci 0000:01:00.0: DMAR: Device uses a private identity domain.", "identity"),
        ("pci 0000:01:00.0: Device uses a private dma domain.", ""),
        ("pci 0000:01:00.0: DMAR: Software identity mapping", "identity"),
        ("Using GB pages for direct mapping", ""),
    ],
)
def test_functions_whose_requests_pass(lines: str, expected: str) -> None:
    log = "".join(f"[    1.2] {line}\n" for line in lines.splitlines())
    groups = host_of(f"{log}[    1.3] iommu: Adding device 0000:01:00.0 to group 7\n").groups
    assert isinstance(groups, Known)
    assert value_of(groups.value[7].type, "") == expected


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("pci 0000:01:00.0: Using iommu direct mapping", "identity"),
        ("pci 0000:01:00.0: Using iommu dma mapping", "DMA"),
        (
            "pci 0000:01:00.0: Using iommu dma mapping\npci 0000:01:00.1: DMAR: Device uses a private identity domain.",
            "",
        ),
        ("pci 0000:01:00.1: DMAR: Device uses a private identity domain.", ""),
    ],
)
def test_a_domain_that_was_given_apart_is_the_whole_groups(line: str, expected: str) -> None:
    groups = host_of(
        "[ 1.3] pci 0000:01:00.0: Adding to iommu group 7\n"
        f"[ 1.3] {line}\n[ 1.3] pci 0000:01:00.1: Adding to iommu group 7\n"
    ).groups
    assert isinstance(groups, Known)
    assert value_of(groups.value[7].type, "") == expected


@pytest.mark.parametrize("how", ["Setting identity map", "Ignoring identity map for HW passthrough"])
def test_what_firmware_has_mapped_where_the_function_stands_first(how: str) -> None:
    host = host_of(
        "[ 0.5] pci 0000:00:1a.0: Adding to iommu group 4\n"
        f"[ 0.6] ehci-pci 0000:00:1a.0: DMAR: {how} [0xbe8d1000 - 0xbe8dffff]\n"
    )
    assert list(host.firmware_maps.values()) == [((0xBE8D1000, 0xBE8DFFFF),)]


def test_a_group_of_which_one_passes_may_be_another() -> None:
    groups = host_of(
        "[ 1.2] DMAR: Hardware identity mapping for device 0000:01:00.0\n"
        "[ 1.3] iommu: Adding device 0000:01:00.0 to group 7\n[ 1.3] iommu: Adding device 0000:01:00.1 to group 7\n"
    ).groups
    assert isinstance(groups, Known)
    assert isinstance(groups.value[7].type, Unknown)


@pytest.mark.parametrize(
    ("lines", "kinds", "reason"),
    [
        ("[ 0.0] ACPI: DMAR 0x41E6B000 000088 (v02 INTEL)\n[ 0.2] DMAR: Host address width 39\n", [], "(DMAR)"),
        (
            "[ 0.0] ACPI: DMAR 0x41E6B000 000088\n[ 0.6] DMAR: Intel(R) Virtualization Technology for Directed I/O\n",
            ["intel"],
            "no IOMMU groups",
        ),
        ("[ 0.4] pci 0000:00:00.2: AMD-Vi: Found IOMMU cap 0x40\n", ["amd"], "no IOMMU groups"),
        ("[ 0.4] iommu: Default domain type: Translated \n", [], "no IOMMU groups"),
        ("[ 0.2] DMAR-IR: Enabled IRQ remapping in x2apic mode\n", [], "no IOMMU groups"),
    ],
)
def test_lines_about_iommus_alone_are_a_record(lines: str, kinds: list[str], reason: str) -> None:
    host = host_of(lines)
    assert not host.functions
    assert [unit.kind for unit in host.iommu_units] == kinds
    assert isinstance(host.groups, Unknown)
    assert reason in host.groups.reason


def test_an_event_at_an_iommu_alone_is_none() -> None:
    with pytest.raises(InputError):
        host_of("[ 1.0] nvme 0000:01:00.0: AMD-Vi: Event logged [IO_PAGE_FAULT domain=0x1]\n")


@pytest.mark.parametrize("run", ["a", ":", "0000:01:00.0"])
def test_a_line_of_one_long_word_is_read_in_linear_time(run: str) -> None:
    line = f"{run * 4000} identity map"[-4096:]
    begun = process_time()
    for _ in range(30):
        assert not IommuLog().take(line)
    assert process_time() - begun < 2, "their square takes seconds"
