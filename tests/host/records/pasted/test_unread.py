"""What people paste that tells of no function: it is refused with its name, and with what to paste instead."""

from __future__ import annotations

import pytest

from atoll.errors import InputError
from atoll.host.records.content import read_record
from host.records.paste import PORT

_ACSCTL = "$ sudo lspci -vvv | grep ACSCtl\n" + 3 * (
    "\t\tACSCtl: SrcValid+ TransBlk- ReqRedir+ CmpltRedir+ UpstreamFwd+ EgressCtrl- DirectTrans-\n"
)
_ROCM = """\
=========== Hops between two GPUs ===========
       GPU0         GPU1
GPU0   0            1
GPU1   1            0
"""
_AMD_SMI = """\
HOPS TABLE:
             0000:c1:00.0 0000:c6:00.0
0000:c1:00.0 0            1
0000:c6:00.0 1            0
"""


@pytest.mark.parametrize(
    ("text", "what", "paste"),
    [
        (_ACSCTL, "ACS bits without the lines of the functions", "lspci -nnvvv"),
        ('"1b:00.0" ACSCtl {SrcValid:false TransBlk:false}\n', "ACS bits without", "lspci -nnvvv"),
        ("-01.0-[01-18]----00.0-[02-18]--+- … -[0e]----00.0  Some GPU\n", "a part of a tree", "the whole tree"),
        (
            "51: PCI 8c00.0: 0380 Display controller\n  SysFS ID: /devices/pci0000:89/0000:8c:00.0\n"
            '  SysFS BusID: 0000:8c:00.0\n  Driver: "i915"\n',
            "hwinfo",
            "lspci -nnvvv",
        ),
        ("0000:00:01.1 (cap 0d @2a0) @2a6 = 001d\n", "setpci", "lspci -nnvvv"),
        (_ROCM, "AMD's GPUs", "/sys/class/kfd/kfd/topology/nodes"),
        (_AMD_SMI, "AMD's GPUs", "/sys/class/kfd/kfd/topology/nodes"),
        (
            "LINK METRIC TABLE:\n       bdf          link_type\nGPU0   0000:0c:00.0 XGMI\n",
            "AMD's links",
            "amd-smi topology",
        ),
        ("  looking at device '/devices/pci0000:00/0000:00:01.0':\n", "walk from one device", "udevadm info -e"),
        ("|  NvLink Link Status  |\nGPUs:\n    gpuId 0:\n        U U U D\n", "dcgmi", "nvlink -R"),
        ("n1:26:76 [0] NCCL INFO + XGMI[24.0] - GPU/4C000\n", "NCCL's log", "NCCL_TOPO_DUMP_FILE"),
        ("==============NVSMI LOG==============\n\nAttached GPUs : 0\n", "shows no GPU", "-q -x"),
        ("IOMMU Group  15: Some Maker Some GPU [10de:1b81] (rev a1)\n", "no function of them", "iommu_groups/ -type l"),
        (" \tGPU0\tGPU1\n GPU0\tX\tOK\n\nLegend:\n  CNS  = Chipset not supported\n", "the driver lets", "topo -m"),
        ("em0@pci0:0:25:0:\tclass=0x020000 chip=0x10ea8086 hdr=0x00\n    vendor = 'X'\n", "pciconf", "pciutils"),
        (
            "em0@pci0:0:25:0:\tclass=0x020000\n    ecap 000d[2a0] = ACS 1 Source Validation disabled\n",
            "neither bridges' buses nor groups",
            "pciutils",
        ),
        ("  Device Type:   GPU\n  Chip ID:  29822(0x747e)\n  BDFID:    768\n", "rocminfo", "amd-smi topology"),
        ("HostBridge\n  PCIBridge\n    PCI 01:00.0 (VGA)\n", "lstopo", "lstopo host.xml"),
        ("pci@0000:01:00.0              display        Some GPU\n", "lshw", "lspci -nnvvv"),
        ("  Device-1: Maker Some GPU driver: x bus-ID: 01:00.0 chip-ID: 10de:2484\n", "inxi", "lspci -nnvvv"),
        ("pci_0000_00_00_0\npci_0000_01_00_0\n", "libvirt's names", "virsh nodedev-dumpxml $d"),
        (
            "Network devices using kernel driver\n===\n0000:44:00.0 'Controller X 15ff' if=eth0 drv=i40e unused=\n",
            "dpdk-devbind",
            "iommu_groups/ -type l",
        ),
        ("PCI\\VEN_10DE&DEV_1E07&SUBSYS_00000000\n", "Windows", "live system"),
        ("PCIROOT(0)#PCI(0301)#PCI(0000)\nSome GPU\n", "Windows", "live system"),
        ('pci0 at mainbus0 bus 0\nppb0 at pci0 dev 1 function 0 "X" rev 0x05\n', "OpenBSD or NetBSD", "pciutils"),
        ("pcib1: <ACPI PCI-PCI bridge> irq 16 at device 1.0 on pci0\n", "FreeBSD's boot log", "pciutils"),
        ("         pci-id ( RO): 0000:04:00.0\n", "XenServer", "first domain"),
        ("(qemu) info pci\n  Bus  0, device   0, function 0:\n", "nothing of the host", "the host's"),
        ("# driverctl list-devices\n0000:01:00.0 vfio-pci [*]\n", "drivers", "iommu_groups/ -type l"),
        ('address: "0000:04:00.0"\nclassId: "0300"\niommuGroup: "8"\n', "names IOMMU groups", "lspci -nnvvv"),
        ("DEVICE     BHYVE ID     READY\nppt0       2/0/0        Yes\n", "vm-bhyve", "pciutils"),
        (
            '> midclt call x pci_0000_07_00_0 | jq\n{\n  "iommu_group": {\n    "number": 17\n  }\n}\n',
            "TrueNAS",
            "iommu_groups/ -type l",
        ),
        (
            "$ ls /sys/bus/pci/devices/0000:01:00.0/iommu_group/devices\n0000:01:00.0  0000:01:00.1\n",
            "neither the group's number",
            "iommu_groups/ -type l",
        ),
        ("PCI Address: 0000:01:00.0 (GPU) + 0000:01:00.1\nIOMMU Group: 14\n", "names IOMMU groups", "lspci -nnvvv"),
        ("  Card 0:\n    NUMA node: 0\n    PCI address: 0000:00:02.0\n", "Incus", "lspci -nnvvv"),
        ("[ 1.0] nvme 0000:01:00.0: AMD-Vi: Event logged [IO_PAGE_FAULT domain=0x1]\n", "log", "dmesg"),
        ("-bash: lspci: command not found\n", "no lspci", "pciutils"),
        ("BACKEND:DEVID    DESCRIPTION\ndom0:00_14.0     USB controller: X\n", "Qubes", "dom0"),
        ("virt_caps              : pv hvm hvm_directio\nxen_version            : 4.13.0\n", "xl info", "first domain"),
        ("  QEMU: Checking for device assignment IOMMU support : PASS\n", "virt-host-validate", "lspci -nnvvv"),
        ("So what do you all think?\n", "no folder, archive or text", "lspci -vvv"),
    ],
)
def test_each_is_named_with_what_to_paste_instead(text: str, what: str, paste: str) -> None:
    with pytest.raises(InputError) as refused:
        read_record(text.encode(), name="post")
    assert what in refused.value.message
    assert paste in refused.value.hint
    # Beside what tells of functions it is in nobody's way.
    host = read_record(f"{text}\n\n{PORT}".encode(), name="post").host
    assert host is not None
    assert [str(address) for address in host.functions] == ["0000:00:01.0", "0000:01:00.0"]
