"""What keeps VFIO from a group as its drivers are now, and how to let it have it."""

from __future__ import annotations

from atoll.host.complaint import ComplaintKind
from atoll.host.fact import Unknown
from atoll.host.model import Host
from atoll.isolation.grouping import Grouping
from atoll.isolation.viability import in_the_way, is_vfio
from atoll.pci.address import Address
from atoll.report.layout import first_of, wrap
from atoll.report.style import Style

__all__ = ["not_viable_lines", "perhaps_members"]


_SHOWN = 6
_RULE = "VFIO gives a group away once each function has vfio-pci or no driver."


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
    unread = _refused_unread(host, found)
    if unread:
        told = f"the log says so; which of {first_of(unread, _SHOWN)} a driver of the host's has, lspci -nnk shows"
        lines = wrap(f"{told}. {_RULE}", first=style.bad("Not viable: "), rest="    ")
        return lines + _remedy_lines(host, found, unread)
    if not any(a in host.functions and is_vfio(host, host.functions[a]) for a in (*found.members, *beyond)):
        return []
    barring, perhaps = in_the_way(host, found.members), in_the_way(host, beyond)
    if not barring and not perhaps:
        return []
    bound = [f"{address} is bound to {driver}" for address, driver in [*barring.items(), *perhaps.items()]]
    told = first_of(bound, _SHOWN, gap=", ")
    if barring:
        head, ends = style.bad("Not viable: "), _RULE
    else:
        several = "they are" if len(perhaps) > 1 else "it is"
        head, ends = style.doubtful("Not viable? "), f"If {several} in the group, VFIO does not give it away so."
    return wrap(f"{told}. {ends}", first=head, rest="    ") + _remedy_lines(host, found, [*barring, *perhaps])


def _refused_unread(host: Host, found: Grouping) -> list[Address]:
    """Return whose drivers may be the reason, where the log says that VFIO did not give the group away, and the record
    shows no driver that is one."""
    asked = {c.function for c in host.complaints if c.kind is ComplaintKind.NOT_VIABLE}
    if asked.isdisjoint(found.members) or in_the_way(host, found.members):
        return []
    others = [host.functions[a] for a in found.members if a not in asked and a in host.functions]
    return [f.address for f in others if not f.is_port and isinstance(f.driver, Unknown)]


def _remedy_lines(host: Host, found: Grouping, barring: list[Address]) -> list[str]:
    """Return how to free the group; no commands where the host would lose what it needs, or may."""
    lines: list[str] = []
    for address in barring:
        if address in host.essential:
            lines += wrap(f"{address} has to stay: the host needs it ({host.essential[address]}).", first="    ")
    if lines:
        return lines
    free = [address for address in barring if not host.functions[address].is_port]
    owner = host.functions[found.one].physical_function
    if owner in free:
        what = f"{owner} is the physical function: its virtual functions, {found.one} among them, go with its driver."
        return wrap(f"{what} What would split the group is told below.", first="    ")
    strangers = [a for a in free if a.slot != found.one.slot and a not in found.siblings]
    if strangers:
        others = f"{first_of(strangers, _SHOWN)}: {'another device' if len(strangers) == 1 else 'other devices'}"
        what = "bound to vfio-pci too, the host loses what is on it; what would split the group is told below."
        return wrap(f"{others}; {what}", first="    ")
    ports = [address for address in barring if address not in free]
    lines += [f"        echo {address} > /sys/bus/pci/devices/{address}/driver/unbind" for address in ports]
    if free:
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
