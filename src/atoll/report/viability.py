"""What keeps VFIO from a group as its drivers are now, and how to let it have it."""

from __future__ import annotations

from atoll.host.fact import Unknown
from atoll.host.model import Host
from atoll.isolation.grouping import Grouping
from atoll.isolation.viability import in_the_way, is_vfio
from atoll.pci.address import Address
from atoll.report.layout import wrap
from atoll.report.style import Style

__all__ = ["not_viable_lines", "perhaps_members"]


def perhaps_members(host: Host, found: Grouping) -> list[Address]:
    """Return the functions, ports aside, that may well be in a group, and whose group is not told: those of the same
    device, and whom the kernel's rules would put there."""
    return [
        address
        for address, function in host.functions.items()
        if isinstance(function.group, Unknown)
        and not function.is_port
        and (address.slot == found.one.slot or address in found.predicted)
        and address not in found.members
    ]


def not_viable_lines(host: Host, found: Grouping, style: Style) -> list[str]:
    """Return what keeps VFIO, which has some of the group's functions, from giving it away; nothing where nothing does.

    These are the reasons for which QEMU says ``group N is not viable``.
    """
    beyond = perhaps_members(host, found)
    if not any(a in host.functions and is_vfio(host, host.functions[a]) for a in (*found.members, *beyond)):
        return []
    barring, perhaps = in_the_way(host, found.members), in_the_way(host, beyond)
    if not barring and not perhaps:
        return []
    told = ", ".join(f"{address} is bound to {driver}" for address, driver in [*barring.items(), *perhaps.items()])
    if barring:
        head, ends = style.bad("Not viable: "), "VFIO gives a group away once each function has vfio-pci or no driver."
    else:
        several = "they are" if len(perhaps) > 1 else "it is"
        head, ends = style.doubtful("Not viable? "), f"If {several} in the group, VFIO does not give it away so."
    return wrap(f"{told}. {ends}", first=head, rest="    ") + _remedy_lines(host, [*barring, *perhaps])


def _remedy_lines(host: Host, barring: list[Address]) -> list[str]:
    needed = [address for address in barring if address in host.essential]
    ports = [address for address in barring if host.functions[address].is_port]
    free = [address for address in barring if address not in needed and address not in ports]
    lines = []
    for address in needed:
        lines += wrap(f"{address} has to stay: the host needs it ({host.essential[address]}).", first="    ")
    for address in ports:
        lines.append(f"        echo {address} > /sys/bus/pci/devices/{address}/driver/unbind")
    if free and not needed:
        them = "them" if len(free) > 1 else "it"
        lines.append(f"    To hand {them} to vfio-pci as well, as root (the host then loses {them}):")
        lines += [
            f"        for a in {' '.join(map(str, free))}; do",
            "            echo vfio-pci > /sys/bus/pci/devices/$a/driver_override",
            "            echo $a > /sys/bus/pci/devices/$a/driver/unbind",
            "            echo $a > /sys/bus/pci/drivers_probe",
            "        done",
        ]
    return lines
