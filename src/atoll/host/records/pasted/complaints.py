"""Complaints of the kernel's and of QEMU's in a pasted text.

Source of the messages: ``pci_request_region``, ``pci_dev_wait`` and ``pci_raw_set_power_state`` (once "refused to
change power state") in Linux ``drivers/pci/pci.c``, ``really_probe`` in ``drivers/base/dd.c``, ``dmar_fault_do_one``
and ``warn_invalid_dmar`` in ``drivers/iommu/intel/dmar.c``, ``amd_iommu_report_page_fault``, ``wait_on_sem`` and
``iommu_print_event`` in ``drivers/iommu/amd/iommu.c``, ``check_ioapic_information`` in ``init.c`` beside it,
``intel_prepare_irq_remapping`` in ``drivers/iommu/intel/irq_remapping.c``; QEMU ``hw/vfio`` (``vfio_pci_hot_reset``,
``vfio_pci_reset``, ``vfio_get_group``, ``vfio_dma_map``, ``vfio_device_groupid``, ``vfio_connect_container``,
``vfio_get_device``), libvirt ``virPCIDeviceReset``, ``virPCIGetHeaderType`` and
``virHostdevPreparePCIDevicesCheckSupport``; Proxmox ``PVE/QemuServer/PCI.pm`` and ``PVE/SysFSTools.pm``; NVIDIA's Xid
79; libvirt's ``virt-host-validate`` (``virHostValidateIOMMU``), Proxmox's page of a machine's devices, Harvester's
admission webhook, DPDK ``vfio_set_iommu_type``; ``sriov_enable`` and ``sriov_init`` in Linux ``drivers/pci/iov.c``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from atoll.host.complaint import Complaint, ComplaintKind
from atoll.host.records.lspci.slot import address_in
from atoll.pci.address import Address

__all__ = ["Complaints"]

_MOST = 256
_DETAILS = 4
_ADDRESS = re.compile(r"(?<![\w:.])(?:[\da-fA-F]{4,8}:)?[\da-fA-F]{2}:[\da-fA-F]{2}\.[0-7](?![\w])")
_XID = re.compile(r"\bXid \(PCI:([\da-fA-F:]{7,13})\): 79,")

_MESSAGES: tuple[tuple[ComplaintKind, re.Pattern[str]], ...] = tuple(
    (kind, re.compile(pattern))
    for kind, pattern in (
        (
            ComplaintKind.BAR_TAKEN,
            r"BAR \d.{0,99}can't reserve (\[?(?:mem|io) [^\]]+)|BAR \d (\[[^\]]+)\]: can't reserve",
        ),
        (ComplaintKind.NOT_BACK, r"not ready \d+ms after ([^;]{1,40}); giving up"),
        (
            ComplaintKind.SILENT,
            r"(?i:(?:unable|refused) to change power state)(?:.{0,99}device inaccessible|, currently in)",
        ),
        (ComplaintKind.SILENT, r"Unknown PCI header type '?127|[Uu]nable to power on device, stuck in D3"),
        (
            ComplaintKind.FAULT,
            r"\[DMA (?:Read|Write)[^\]]*\] Request device .{0,99}?fault addr (?:0x)?([\da-f]{1,16})\b",
        ),
        (ComplaintKind.FAULT, r"IO_PAGE_FAULT .{0,99}?address=(?:0x)?([\da-f]{1,16})\b"),
        (ComplaintKind.INTERRUPT, r"\[INTR-REMAP\] Request device"),
        (ComplaintKind.NO_GROUP, r"vfio-pci.{0,99}: probe (?:of \S+|with driver \S+) failed with error -22"),
        (
            ComplaintKind.NO_GROUP,
            r"no iommu_group found|has no iommuGroup available|cannot prepare PCI pass-?through, IOMMU not present",
        ),
        (ComplaintKind.NO_GROUP, r"host doesn['’]t support passthrough of host PCI devices"),
        (ComplaintKind.RESET_SPREADS, r"Cannot reset device .{0,99}depends on group (\d{1,6}) which is not owned"),
        (
            ComplaintKind.NO_RESET,
            r"Cannot reset device .{0,99}no available reset mechanism|internal error: Unable to reset|"
            r"failed to reset PCI device '",
        ),
        (ComplaintKind.NOT_VIABLE, r"group (\d{1,6}) is not viable|VFIO group is not viable"),
        (ComplaintKind.BUSY, r"/dev/vfio/(\w{1,12})['\"]?: Device or resource busy"),
        (ComplaintKind.NO_NODE, r"failed to open /dev/vfio/(\w{1,12}): No such (?:file|device)"),
        (ComplaintKind.NOT_PERMITTED, r"/dev/vfio/(\w{1,12})['\"]?: (?:Permission denied|Operation not permitted)"),
        (ComplaintKind.MAP_REFUSED, r"vfio_(?:container_)?dma_map\(.{0,99}\) = -\d+ \(([^)]{1,40})\)"),
        (ComplaintKind.MAP_REFUSED, r"VFIO_(?:IOMMU_)?MAP_DMA[^:]{0,20}: ([A-Z][\w ]{1,40})"),
        (ComplaintKind.NO_DOMAIN, r"[Ff]ailed to set (?:iommu for|group) container: ([A-Z][\w/ ]{1,40})"),
        (ComplaintKind.NO_DOMAIN, r"[Nn]o available (IOMMU models)"),
        (ComplaintKind.NO_DOMAIN, r"failed to select (IOMMU type)"),
        (ComplaintKind.NOT_OPENED, r"error getting device (?:\S+ )?from group \d{1,6}: ([A-Z][\w/ ]{1,40})"),
        (
            ComplaintKind.OFF,
            r"IOMMU appears to be disabled in kernel|IOMMU capability not compiled into kernel"
            r"|No IOMMU detected, please activate it|AMD IOMMU disabled on kernel command-line",
        ),
        (ComplaintKind.BROKEN_TABLE, r"Your BIOS is broken; (DMAR) reported at address "),
        (ComplaintKind.STALLED, r"AMD-Vi: Completion-Wait loop timed out"),
        (ComplaintKind.NOT_DESCRIBED, r"No ACPI (DMAR|IVRS|IORT) table found"),
        (
            ComplaintKind.NO_VIRTUAL,
            r"not enough MMIO resources for SR-IOV|SR-IOV: bus number out of range"
            r"|can't enable \d+ VFs \(bus \S+ out of range",
        ),
        (ComplaintKind.NO_IOAPIC, r"\bIOAPIC\[(\d{1,5})\] not in IVRS table"),
        (ComplaintKind.ERRATUM, r"system BIOS has enabled interrupt remapping"),
        (ComplaintKind.NOT_INVALIDATED, r"IOTLB_INV_TIMEOUT|detected Invalidation Time-?out Error"),
    )
)
_MARKS = (
    *("can't reserve", "giving up", "power state", "PCI header type", "stuck in D3", "Request device", "IO_PAGE_FAULT"),
    *("with error -22", "Cannot reset device", "Unable to reset", "/dev/vfio/", "not viable", "dma_map(", "MAP_DMA"),
    *("Xid (", "no iommu_group", "IOMMU not present", "t support passthrough", "to reset PCI device '"),
    *("container: ", "vailable IOMMU models", "getting device", "IOTLB_INV_TIMEOUT", "Invalidation Time"),
    *("not in IVRS table", "BIOS has enabled interrupt", "IOMMU appears to be", "not compiled into kernel"),
    *("No IOMMU detected", "AMD IOMMU disabled", "No ACPI ", "for SR-IOV", "SR-IOV: bus", " VFs (bus", "no iommuGroup"),
    *("select IOMMU type", "DMAR reported at", "Completion-Wait loop"),
)
"""One of these is in each message: most lines of a text have none."""


@dataclass(slots=True)
class Complaints:
    """Looks at lines one by one; others may take them too."""

    _found: dict[tuple[ComplaintKind, Address | None], list[str]] = field(default_factory=dict)
    _boots: int = 0

    def look(self, line: str, *, boots: int = 0) -> None:
        """Keep what a line complains of; ``boots`` is how many the text has shown so far.

        Of several boots the last counts; what stands before the only one is of a post.
        """
        if boots > max(self._boots, 1):
            self._found = {}
        self._boots = boots
        if not any(mark in line for mark in _MARKS):
            return
        fallen = _XID.search(line)
        if fallen is not None:
            self._add(ComplaintKind.SILENT, address_in(f"{fallen[1]}.0"), "Xid 79")
            return
        for kind, pattern in _MESSAGES:
            found = pattern.search(line)
            if found is not None:
                detail = next((text for text in found.groups() if text), "")
                self._add(kind, _address(line), detail.strip("[]"))
                return

    def _add(self, kind: ComplaintKind, address: Address | None, detail: str) -> None:
        if len(self._found) < _MOST or (kind, address) in self._found:
            details = self._found.setdefault((kind, address), [])
            if detail and detail not in details and len(details) < _DETAILS:
                details.append(detail)

    def all(self) -> tuple[Complaint, ...]:
        """Return what was found, in the text's order."""
        return tuple(Complaint(kind, address, tuple(details)) for (kind, address), details in self._found.items())


def _address(line: str) -> Address | None:
    """Return the first address of a line; some kernels print ``[0x00:0x02.0]``."""
    plain = line.replace("[0x", "[").replace(":0x", ":") if "Request device [0x" in line else line
    return next((a for word in _ADDRESS.findall(plain) if (a := address_in(word)) is not None), None)
