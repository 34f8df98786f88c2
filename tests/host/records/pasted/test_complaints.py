"""What messages in a pasted text complain of, by function."""

from __future__ import annotations

import pytest

from atoll.host.complaint import ComplaintKind
from atoll.host.fact import Known
from atoll.host.records.pasted.text import read_text


def _read(*lines: str) -> list[tuple[ComplaintKind, str, tuple[str, ...]]]:
    host = read_text("\n".join(lines).encode(), name="log.txt")
    return [(c.kind, str(c.function or ""), c.details) for c in host.complaints]


@pytest.mark.parametrize(
    ("line", "kind", "function", "detail"),
    [
        (
            "[   44.7] vfio-pci 0000:05:00.0: BAR 0: can't reserve [mem 0xd0000000-0xdfffffff 64bit pref]",
            ComplaintKind.BAR_TAKEN,
            "0000:05:00.0",
            "mem 0xd0000000-0xdfffffff 64bit pref",
        ),
        (
            "vfio-pci 0000:05:00.0: BAR 0 [mem 0xd0000000-0xdfffffff 64bit pref]: can't reserve",
            ComplaintKind.BAR_TAKEN,
            "0000:05:00.0",
            "mem 0xd0000000-0xdfffffff 64bit pref",
        ),
        (
            "Sep 21 09:59:59 host kernel: vfio-pci 0000:01:00.0: not ready 65535ms after bus reset; giving up",
            ComplaintKind.NOT_BACK,
            "0000:01:00.0",
            "bus reset",
        ),
        (
            "vfio-pci 10000:01:00.0: Unable to change power state from D3cold to D0, device inaccessible",
            ComplaintKind.SILENT,
            "10000:01:00.0",
            "",
        ),
        (
            "vfio-pci 0000:01:00.0: refused to change power state, currently in D3",
            ComplaintKind.SILENT,
            "0000:01:00.0",
            "",
        ),
        (
            "error: internal error: Unknown PCI header type '127' for device '0000:0c:00.0'",
            ComplaintKind.SILENT,
            "0000:0c:00.0",
            "",
        ),
        (
            "NVRM: Xid (PCI:0000:08:00): 79, pid=1234, GPU has fallen off the bus.",
            ComplaintKind.SILENT,
            "0000:08:00.0",
            "Xid 79",
        ),
        (
            "DMAR: [DMA Read] Request device [00:02.0] PASID ffffffff fault addr 9c000000 [fault reason 06] PTE Read",
            ComplaintKind.FAULT,
            "0000:00:02.0",
            "9c000000",
        ),
        (
            "DMAR: [DMA Write NO_PASID] Request device [0x03:0x00.0] fault addr 0xfe000000 [fault reason 0x05] PTE",
            ComplaintKind.FAULT,
            "0000:03:00.0",
            "fe000000",
        ),
        (
            "nvidia 0000:07:00.0: AMD-Vi: Event logged [IO_PAGE_FAULT domain=0x0003 address=0x9e139068 flags=0x0020]",
            ComplaintKind.FAULT,
            "0000:07:00.0",
            "9e139068",
        ),
        (
            "AMD-Vi: Event logged [IO_PAGE_FAULT device=0a:00.0 domain=0x0003 address=0x9e139068 flags=0x0020]",
            ComplaintKind.FAULT,
            "0000:0a:00.0",
            "9e139068",
        ),
        (
            "DMAR: [INTR-REMAP] Request device [f0:1f.7] fault index 22 [fault reason 38] Blocked an interrupt request",
            ComplaintKind.INTERRUPT,
            "0000:f0:1f.7",
            "",
        ),
        ("vfio-pci: probe of 0000:0b:00.0 failed with error -22", ComplaintKind.NO_GROUP, "0000:0b:00.0", ""),
        (
            "vfio-pci 0000:0b:00.0: probe with driver vfio-pci failed with error -22",
            ComplaintKind.NO_GROUP,
            "0000:0b:00.0",
            "",
        ),
        (
            "vfio: Cannot reset device 0000:09:00.0, depends on group 13 which is not owned.",
            ComplaintKind.RESET_SPREADS,
            "0000:09:00.0",
            "13",
        ),
        (
            "-device vfio-pci: vfio 0000:0a:00.0: failed to open /dev/vfio/20: Device or resource busy",
            ComplaintKind.BUSY,
            "0000:0a:00.0",
            "20",
        ),
        (
            "vfio error: 0000:04:00.0: group 1 is not viable",
            ComplaintKind.NOT_VIABLE,
            "0000:04:00.0",
            "1",
        ),
        (
            "EAL: 0000:44:00.3 VFIO group is not viable! Not all devices in IOMMU group bound to VFIO or unbound",
            ComplaintKind.NOT_VIABLE,
            "0000:44:00.3",
            "",
        ),
        (
            "vfio 0000:0a:00.0: failed to open /dev/vfio/20: No such file or directory",
            ComplaintKind.NO_NODE,
            "0000:0a:00.0",
            "20",
        ),
        (
            "vfio 0000:0a:00.0: failed to open /dev/vfio/20: Permission denied",
            ComplaintKind.NOT_PERMITTED,
            "0000:0a:00.0",
            "20",
        ),
        (
            "kvm: vfio_dma_map(0x5591, 0x380000000000, 0x10000, 0x7f) = -22 (Invalid argument)",
            ComplaintKind.MAP_REFUSED,
            "",
            "Invalid argument",
        ),
        ("kvm: VFIO_MAP_DMA failed: Cannot allocate memory", ComplaintKind.MAP_REFUSED, "", "Cannot allocate memory"),
        (
            "-device vfio-pci,host=08:00.0: vfio 0000:08:00.0: no iommu_group found: No such file or directory",
            ComplaintKind.NO_GROUP,
            "0000:08:00.0",
            "",
        ),
        ("TASK ERROR: cannot prepare PCI pass-through, IOMMU not present", ComplaintKind.NO_GROUP, "", ""),
        (
            "unsupported configuration: host doesn't support passthrough of host PCI devices",
            ComplaintKind.NO_GROUP,
            "",
            "",
        ),
        (
            "failed to reset PCI device '0000:01:00.0', but trying to continue as not all devices need a reset",
            ComplaintKind.NO_RESET,
            "0000:01:00.0",
            "",
        ),
        (
            "vfio 0000:0a:00.0: failed to setup container for group 9: Failed to set iommu for container: "
            "Operation not permitted",
            ComplaintKind.NO_DOMAIN,
            "0000:0a:00.0",
            "Operation not permitted",
        ),
        (
            "vfio 0000:0a:00.0: failed to setup container for group 9: Failed to set group container: Invalid argument",
            ComplaintKind.NO_DOMAIN,
            "0000:0a:00.0",
            "Invalid argument",
        ),
        (
            "vfio 0000:0a:00.0: failed to setup container for group 9: No available IOMMU models",
            ComplaintKind.NO_DOMAIN,
            "0000:0a:00.0",
            "IOMMU models",
        ),
        (
            "vfio 0000:0a:00.0: error getting device from group 9: No such device",
            ComplaintKind.NOT_OPENED,
            "0000:0a:00.0",
            "No such device",
        ),
        (
            "vfio: error getting device 0000:0a:00.0 from group 9: Invalid argument",
            ComplaintKind.NOT_OPENED,
            "0000:0a:00.0",
            "Invalid argument",
        ),
        (
            "iommu ivhd0: AMD-Vi: Event logged [IOTLB_INV_TIMEOUT device=06:00.0 address=0x1001e4600]",
            ComplaintKind.NOT_INVALIDATED,
            "0000:06:00.0",
            "",
        ),
        ("DMAR: VT-d detected Invalidation Time-out Error: SID 0", ComplaintKind.NOT_INVALIDATED, "", ""),
        (
            "  QEMU: Checking if IOMMU is enabled by kernel : WARN (IOMMU appears to be disabled in kernel. Add x)",
            ComplaintKind.OFF,
            "",
            "",
        ),
        (
            "[    0.05] DMAR: [Firmware Bug]: Your BIOS is broken; DMAR reported at address 0!",
            ComplaintKind.BROKEN_TABLE,
            "",
            "DMAR",
        ),
        ("[  170.2] AMD-Vi: Completion-Wait loop timed out", ComplaintKind.STALLED, "", ""),
        ("No IOMMU detected, please activate it. See Documentation.", ComplaintKind.OFF, "", ""),
        ("[    0.0] AMD-Vi: AMD IOMMU disabled on kernel command-line", ComplaintKind.OFF, "", ""),
        (
            "  QEMU: Checking for x : WARN (No ACPI IORT table found, IOMMU not supported by this hardware platform)",
            ComplaintKind.NOT_DESCRIBED,
            "",
            "IORT",
        ),
        (
            "[ 77.1] ixgbe 0000:04:00.0: not enough MMIO resources for SR-IOV",
            ComplaintKind.NO_VIRTUAL,
            "0000:04:00.0",
            "",
        ),
        (
            "[ 77.3] igb 0000:05:00.0: can't enable 7 VFs (bus 06 out of range of [bus 05])",
            ComplaintKind.NO_VIRTUAL,
            "0000:05:00.0",
            "",
        ),
        ("denied the request: pci device node1-000901000 has no iommuGroup available", ComplaintKind.NO_GROUP, "", ""),
        ("EAL: 0000:01:00.0 failed to select IOMMU type", ComplaintKind.NO_DOMAIN, "0000:01:00.0", "IOMMU type"),
        ("[    0.29] AMD-Vi: [Firmware Bug]: : IOAPIC[32] not in IVRS table", ComplaintKind.NO_IOAPIC, "", "32"),
        ("[Firmware Bug]: AMD-Vi: IOAPIC[7] not in IVRS table", ComplaintKind.NO_IOAPIC, "", "7"),
        ("DMAR-IR: This system BIOS has enabled interrupt remapping", ComplaintKind.ERRATUM, "", ""),
    ],
)
def test_messages(line: str, kind: ComplaintKind, function: str, detail: str) -> None:
    assert _read(line) == [(kind, function, (detail,) if detail else ())]


def test_what_is_no_complaint() -> None:
    known = "pci 0000:01:00.0: Adding to iommu group 1"
    for line in (
        "vfio-pci 0000:01:00.0: not ready 1023ms after FLR; waiting",
        "pci 0000:01:00.0: BAR 0: assigned [mem 0xd0000000-0xdfffffff 64bit pref]",
        "NVRM: Xid (PCI:0000:08:00): 31, pid=1234, MMU Fault",
        "vfio-pci: probe of 0000:0b:00.0 failed with error -16",
        "crw------- 1 root root 241, 0 Aug 14 18:43 /dev/vfio/25",
        "DMAR: Invalidation Time-out Error (ITE) cleared",
        "(XEN) 0000:01:00.0: failed to reset PCI device state",
    ):
        assert _read(known, line) == []


def test_many_alike_are_one() -> None:
    fault = "nvidia 0000:07:00.0: AMD-Vi: Event logged [IO_PAGE_FAULT domain=0x3 address={:#x} flags=0x20]"
    ((_, _, details),) = _read(*(fault.format(0x80000000 + 0x40 * n) for n in range(1000)))
    assert details == ("80000000", "80000040", "80000080", "800000c0")
    assert len(_read(*(fault.replace("0000:07", f"{n:04x}:07").format(1) for n in range(1000)))) == 256


def test_a_refusal_for_want_of_interrupt_remapping() -> None:
    said = 'vfio_iommu_type1_attach_group: No interrupt remapping support.  Use the module param "x" to enable VFIO'
    host = read_text(f"{said}\npci 0000:01:00.0: Adding to iommu group 1".encode(), name="log.txt")
    assert isinstance(host.interrupt_remapping, Known)
    assert host.interrupt_remapping.value is False


def test_of_several_boots_the_last_counts() -> None:
    gone = "vfio-pci 0000:01:00.0: not ready 65535ms after FLR; giving up"
    boot = "[    0.000000] Linux version 6.12.1 (x@y) #1 SMP"
    assert _read(boot, gone, boot) == []
    assert [kind for kind, _, _ in _read(boot, boot, gone)] == [ComplaintKind.NOT_BACK]
    assert [kind for kind, _, _ in _read(gone, boot)] == [ComplaintKind.NOT_BACK]
    assert [kind for kind, _, _ in _read(boot, gone, boot.partition("] ")[2])] == [ComplaintKind.NOT_BACK]
