"""The rest of a simulated host's files: ``/proc``, block devices, network interfaces, ``/dev/vfio``."""

from __future__ import annotations

from functools import partial
from uuid import NAMESPACE_OID, uuid5

from atoll.twin.files import Files, Folder, Link, attribute
from atoll.twin.kernel import Kernel
from atoll.twin.spec import BRIDGES, Disk, Network
from atoll.twin.sysfs import Sysfs
from atoll.twin.vfio import Holder, Vfio

__all__ = ["Procfs"]


class Procfs:
    """Adds files that say what the host itself needs, and who has what open."""

    def __init__(self, files: Files, kernel: Kernel, vfio: Vfio, sysfs: Sysfs) -> None:
        self.files = files
        self.kernel = kernel
        self.vfio = vfio
        self.sysfs = sysfs

    def build(self) -> None:
        """Add everything."""
        spec = self.kernel.spec
        self.files.add("proc/version", attribute(f"{spec.text}\n"))
        self.files.add("proc/cmdline", attribute(f"{spec.cmdline}\n"))
        # Random on a real machine, and another one after each boot.
        boot = uuid5(NAMESPACE_OID, f"{self.kernel.blueprint.name} {self.kernel.boots}")
        self.files.add("proc/sys/kernel/random/boot_id", attribute(f"{boot}\n"))
        self.files.add("proc/interrupts", attribute(self.interrupts))
        self.disk(self.kernel.blueprint.disk)
        self.files.add("sys/class/net", Folder())
        for number, network in enumerate(self.kernel.blueprint.networks, start=2):
            self.network(network, number)
        self.routes()
        self.files.add("dev/null", attribute(b""))
        self.files.add("dev/vfio/vfio", attribute(b""))
        for group in sorted(self.kernel.groups):
            if any(device.driver == "vfio-pci" for device in self.kernel.in_group(group)):
                self.files.add(f"dev/vfio/{group}", attribute(b""))
        self.init()
        for holder in self.vfio.holders.values():
            self.files.later(f"proc/{holder.pid}", partial(self.process, holder))

    def init(self) -> None:
        """Add process 1, which every machine has: it shows that processes are not hidden."""
        self.files.add("proc/1/comm", attribute("systemd\n"))
        self.files.add("proc/1/cmdline", attribute(b"/sbin/init\0"))
        self.files.add("proc/1/fd/0", Link("/dev/null"))

    def interrupts(self) -> str:
        """Return ``/proc/interrupts`` with one line for each device that a host driver runs."""
        lines = [f"{'':>4}           CPU0"]
        number = 16
        for address in sorted(self.kernel.devices):
            device, function = self.kernel.devices[address], self.kernel.hardware.functions[address]
            if device.driver is None or device.driver in ("vfio-pci", "pci-stub") or function.spec.port in BRIDGES:
                continue
            if self.kernel.hardware.real_requester(function) is not function:
                chip = "VMD-MSI"
            elif self.kernel.blueprint.interrupt_chip:
                chip = f"{self.kernel.blueprint.interrupt_chip}{address}"
            else:
                chip = "XIVE-MSI"
            lines.append(f"{number:>4}:          1  {chip}    0-edge      {device.driver}")
            number += 1
        return "\n".join(lines) + "\n"

    def disk(self, disk: Disk) -> None:
        """Add the disk with the root file system."""
        major, minor = disk.device
        if disk.function in self.kernel.devices:
            here = f"{self.sysfs.path(disk.function)}/{disk.node}/block/{disk.name}"
            self.files.add(f"{here}/dev", attribute(f"{major}:{minor}\n"))
            self.files.add(f"{here}/{disk.partition}/dev", attribute(f"{major}:{minor + 1}\n"))
            self.files.add(f"{here}/{disk.partition}/partition", attribute("1\n"))
            self.files.link(f"{here}/device", f"{self.sysfs.path(disk.function)}/{disk.node}")
            self.files.link(f"sys/block/{disk.name}", here)
            self.files.link(f"sys/class/block/{disk.name}", here)
            self.files.link(f"sys/class/block/{disk.partition}", f"{here}/{disk.partition}")
            self.files.link(f"sys/dev/block/{major}:{minor}", here)
            self.files.link(f"sys/dev/block/{major}:{minor + 1}", f"{here}/{disk.partition}")
        self.files.add(f"dev/{disk.name}", attribute(b""))
        self.files.add(f"dev/{disk.partition}", attribute(b""))
        mounts = f"/dev/{disk.partition} / ext4 rw,relatime 0 0\nproc /proc proc rw,relatime 0 0\n"
        self.files.add("proc/mounts", Link("self/mounts"))
        self.files.add("proc/self/mounts", attribute(mounts))
        info = f"22 1 {major}:{minor + 1} / / rw,relatime shared:1 - ext4 /dev/{disk.partition} rw\n"
        info += "23 22 0:21 / /proc rw,relatime shared:2 - proc proc rw\n"
        self.files.add("proc/self/mountinfo", attribute(info))
        self.files.add("proc/swaps", attribute("Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n"))

    def network(self, network: Network, number: int) -> None:
        """Add a network interface; it goes where no host driver runs its device."""
        device = self.kernel.devices.get(network.function)
        if device is None or device.driver in (None, "vfio-pci", "pci-stub"):
            return
        function = self.sysfs.path(network.function)
        here = f"{function}/net/{network.interface}"
        self.files.link(f"sys/class/net/{network.interface}", here)
        self.files.link(f"{here}/device", function)
        self.files.add(f"{here}/ifindex", attribute(f"{number}\n"))
        self.files.add(f"{here}/operstate", attribute("up\n" if network.default else "down\n"))

    def routes(self) -> None:
        """Add the routing table."""
        head = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n"
        for network in self.kernel.blueprint.networks:
            if network.default:
                head += f"{network.interface}\t00000000\t010200C0\t0003\t0\t0\t100\t00000000\t0\t0\t0\n"
        self.files.add("proc/net", Link("self/net"))
        self.files.add("proc/self/net/route", attribute(head))

    def process(self, holder: Holder) -> None:
        """Add what is in the folder of a holder's process, its descriptors among it."""
        here = f"proc/{holder.pid}"
        self.files.add(f"{here}/comm", attribute(holder.name[:15] + "\n"))
        self.files.add(f"{here}/cmdline", attribute(holder.name.encode() + b"\0"))
        groups = sorted(group for group, name in self.kernel.owner_of_group.items() if name == holder.name)
        targets = ["/dev/null", "/dev/vfio/vfio", *(f"/dev/vfio/{group}" for group in groups)]
        targets += ["anon_inode:[vfio-device]"] * len(holder.devices)
        for number, target in enumerate(targets):
            self.files.add(f"{here}/fd/{number}", Link(target))
