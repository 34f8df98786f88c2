"""Texts that people paste and that tell of no function: what each is, and what to paste instead.

Sources of the forms: ``lspci -vvv | grep ACSCtl`` of NVIDIA's NCCL guide; ``rocm-smi --showtopo`` and ``amd-smi
topology`` of ROCm, its ``rocminfo``; FreeBSD's pciconf(8); hwloc's lstopo(1) in text; lshw(1); inxi(1); hwinfo(8);
setpci(8); DPDK's ``dpdk-devbind.py --status``; ``nvidia-smi`` alone; CUDA's p2pBandwidthLatencyTest; Windows' device
ids and device assignment; VMware's ``esxcli hardware pci list``; the boot logs of the BSDs (autoconf(4), acpi(4));
vm-bhyve's ``vm passthru``; TrueNAS's ``midclt call vm.device.passthrough_device``; ``incus info --resources``.
"""

from __future__ import annotations

__all__ = ["UNKNOWN_LIST", "instead"]

UNKNOWN_LIST = "it names IOMMU groups, and no function of them in a form of list that is known here"

_LSPCI = "sudo lspci -nnvvv"
_LIST = "find /sys/kernel/iommu_groups/ -type l"
_SAMPLE = 1 << 18

_FORMS: tuple[tuple[tuple[str, ...], str, str], ...] = (
    (
        ("acsctl", "acscap"),
        "it shows ACS bits without the lines of the functions that they are of: grep leaves those out",
        f"paste the whole output of {_LSPCI}; and for groups {_LIST}",
    ),
    (
        (
            "link type between two gpus",
            "weight between two gpus",
            "hops between two gpus",
            "link type table",
            "hops table",
        ),
        "it shows what joins AMD's GPUs, but neither which functions they are nor each link",
        f"paste {_LSPCI}, and for links: grep -r . /sys/class/kfd/kfd/topology/nodes",
    ),
    (
        ("link metric table", "xgmi link status", "gpu link port status"),
        "it shows what went over AMD's links, but not which GPUs they join",
        f"paste amd-smi topology, and {_LSPCI}",
    ),
    (
        ("udevadm info starts with", "looking at device '/devices"),
        "it is udevadm's walk from one device upwards, in the form of its rules",
        f"paste udevadm info -e; better {_LSPCI}, and {_LIST}",
    ),
    (
        ("]----", "]--+-"),
        "it is a part of a tree of lspci -t, without the line that begins with the number of a bus",
        f"paste the whole tree, as code; better {_LSPCI}",
    ),
    (
        ("(xen) ",),
        "it is Xen's own log, which names no function of the machine",
        f"paste {_LSPCI} beside it, run as root in the first domain",
    ),
    (
        ("backend:devid", "dom0:00_"),
        "it is Qubes's list of devices, which shows neither bridges nor ACS",
        f"paste {_LSPCI}, run in dom0",
    ),
    (
        ("xen_version", "virt_caps"),
        "it is what xl info prints, which names no function of the machine",
        f"paste {_LSPCI} beside it, run as root in the first domain",
    ),
    (
        ("checking for device assignment iommu", "checking if iommu is enabled"),
        "it is what virt-host-validate prints, which names no function, and says of no IOMMU that it is off",
        f"paste {_LSPCI}, and {_LIST}",
    ),
    (
        ("nvsmi log=",),
        "it is a log of nvidia-smi -q that shows no GPU",
        f"paste nvidia-smi -q -x, nvidia-smi nvlink -R, and {_LSPCI}",
    ),
    (
        ("nccl info ",),
        "it is NCCL's log, in which the topology is drawn and not all of it told",
        f"paste {_LSPCI}, and beside it what NCCL_TOPO_DUMP_FILE=topo.xml writes",
    ),
    (
        ("nvlink link status", "gpuid 0:"),
        "it is the list of dcgmi, which shows which NVLinks are up and not where they lead",
        f"paste nvidia-smi nvlink -R, and {_LSPCI}",
    ),
    (
        ("p2p connectivity matrix", "pcibusid:"),
        "it shows which GPUs CUDA lets reach one another, not what is between them",
        f"paste {_LSPCI}, and nvidia-smi topo -m and nvidia-smi nvlink -R beside it",
    ),
    (
        ("cns  = chipset not supported", "topo -p2p", "ok   = status ok"),
        "it shows which GPUs the driver lets reach one another, not what is between them",
        f"paste {_LSPCI}, and nvidia-smi topo -m and nvidia-smi nvlink -R beside it",
    ),
    (
        ("| nvidia-smi ",),
        "it is the table of nvidia-smi, which shows no links and nothing of the PCI tree",
        f"paste {_LSPCI}, and nvidia-smi topo -m and nvidia-smi nvlink -R beside it",
    ),
    (
        ("@pci0:", "@pci1:"),
        "it is a list of FreeBSD's pciconf, which shows neither bridges' buses nor groups",
        "paste the output of lspci -nnvvv (pkg install pciutils), run as root",
    ),
    (
        ("bdfid:", "hsa agents"),
        "it is the list of rocminfo, which shows processors and GPUs, and neither bridges nor links nor groups",
        f"paste {_LSPCI}, and amd-smi topology beside it",
    ),
    (
        ("hostbridge", "pcibridge"),
        "it is a drawing of lstopo, which leaves functions out",
        f"paste {_LSPCI}, or what lstopo host.xml writes",
    ),
    (
        ("pci@0000:",),
        "it is a list of lshw, which shows neither bridges' buses nor ACS",
        f"paste {_LSPCI}, and {_LIST}",
    ),
    (
        ("sysfs busid:", "driver activation cmd:"),
        "it is a list of hwinfo, which shows neither bridges' buses nor ACS nor groups",
        f"paste {_LSPCI}, and {_LIST}",
    ),
    (
        (" (cap 0d @",),
        "it shows ACS control as setpci reads it, without what it can and what the functions are",
        f"paste {_LSPCI}",
    ),
    (
        ("<hostdev",),
        "it is a part of a guest's definition, which shows nothing of the host",
        f"paste the host's {_LSPCI}, and {_LIST}",
    ),
    (
        ("chip-id:", "bus-id:"),
        "it is a list of inxi, which shows neither ACS nor groups",
        f"paste {_LSPCI}, and {_LIST}",
    ),
    (
        ('"iommu_group": {',),
        "it is TrueNAS's list of what may be passed through, which shows neither bridges nor ACS",
        f"paste {_LIST}, and {_LSPCI}",
    ),
    (
        ("pci_0000_",),
        "it lists libvirt's names of devices and no more",
        "paste for d in $(virsh nodedev-list --cap pci); do virsh nodedev-dumpxml $d; done",
    ),
    (
        ("network devices using", "dpdk-compatible"),
        "it is the list of dpdk-devbind, which shows drivers and no groups",
        f"paste {_LIST}, and {_LSPCI}",
    ),
    (
        (" at mainbus0", "ppb0 at pci"),
        "it is the boot log of OpenBSD or NetBSD, which form no IOMMU groups",
        f"paste {_LSPCI} (from pciutils, or of Linux), run as root",
    ),
    (
        ("<acpi pci-pci bridge>", "<acpi host-pci bridge>", "<acpi pci bus>"),
        "it is FreeBSD's boot log, which shows neither ACS nor groups",
        "paste the output of lspci -nnvvv (pkg install pciutils), run as root",
    ),
    (
        ("pci-id ( ro)",),
        "it is XenServer's list of devices, which shows neither bridges nor ACS",
        f"paste {_LSPCI}, run as root in the first domain",
    ),
    (
        ("(qemu) info pci",),
        "it is what QEMU gives a guest, which shows nothing of the host",
        f"paste the host's {_LSPCI}, and {_LIST}",
    ),
    (("driverctl ",), "it is a list of drivers, which shows no groups", f"paste {_LIST}, and {_LSPCI}"),
    (
        ("bhyve id",),
        "it is the list of vm-bhyve, which shows neither bridges nor ACS",
        "paste the output of lspci -nnvvv (pkg install pciutils), run as root",
    ),
    (
        ("pci\\ven_", "pciroot(0)#pci("),
        "it is a list of Windows' devices",
        f"boot Linux (a live system does), and paste {_LSPCI}",
    ),
    (
        ("vmkernel name:", "passthru capable:"),
        "it is a list of esxcli, which shows neither ACS nor groups",
        f"boot Linux (a live system does), and paste {_LSPCI}",
    ),
    (
        ("lspci: command not found", "lspci: not found"),
        "there was no lspci to run",
        f"install pciutils, and paste {_LSPCI}",
    ),
    (
        ("/iommu_group/devices",),
        "it lists who shares a group with a function, and neither the group's number nor what the functions are",
        f"paste {_LIST}, and {_LSPCI}",
    ),
    (
        ("iommu group", "iommu_group", "iommugroup"),
        UNKNOWN_LIST,
        f"paste {_LIST}, and {_LSPCI}",
    ),
    (
        ("pci address:", "numa node:"),
        "it names devices by what resources they are, as Incus and LXD do, and neither bridges nor ACS nor groups",
        f"paste {_LSPCI}, and {_LIST}",
    ),
    (
        ("io_page_fault", "dmar: [dma", "dmar-ir:", "amd-vi:", "arm-smmu"),
        "it is a part of a kernel's log in which no device is added to an IOMMU group",
        f"paste the whole of dmesg from the boot on, and {_LSPCI}",
    ),
)


def instead(data: bytes) -> tuple[str, str] | None:
    """Return what a text is, in a clause, and what to paste instead; None for one of a form that is not known."""
    text = data[:_SAMPLE].decode("utf-8", errors="replace").lower()
    return next(((what, hint) for marks, what, hint in _FORMS if any(mark in text for mark in marks)), None)
