"""What a port that slept wakes up with: the kernel's policy, not what was set by hand.

Source: drivers/pci: ``pci_pm_runtime_resume`` restores the state that was saved (``pci_restore_state``), of which ACS
is no part, and calls ``pci_enable_acs`` instead (6.1, 6.12 and 7.3). In D3cold the control word is lost, in D3hot where
the port does not keep its context (No_Soft_Reset). What the command line says (``disable_acs_redir=``, ``config_acs=``)
is set anew even where the port has kept all: seen with QEMU's root port, which has no register of power management, as
RR and CR that were gone (the lab's ``asleep``). A port may sleep once all below it do (``pci_bridge_d3_possible``),
as devices do that have vfio-pci and nobody has open, or that their user lets sleep (VFIO_DEVICE_FEATURE_LOW_POWER_ENTRY
in include/uapi/linux/vfio.h).
"""

from __future__ import annotations

from atoll.controls.acs import policy
from atoll.host.command_line import values
from atoll.host.fact import value_of
from atoll.host.model import Function, Host
from atoll.pci.acs import REDIRECTING, AcsFlag
from atoll.pci.header import EXPRESS_PORTS, PortType

__all__ = ["is_kept_awake", "may_sleep", "opens_asleep"]


def may_sleep(host: Host, function: Function) -> bool:
    """Whether the kernel may put a port to sleep while it runs, as far as its kind and ``pcie_port_pm=`` tell."""
    if not function.is_port or value_of(function.port_type, PortType.ROOT_PORT) not in EXPRESS_PORTS:
        return False
    return "off" not in values(value_of(host.command_line, ""), "pcie_port_pm")


def is_kept_awake(function: Function) -> bool:
    """Whether ``power/control`` is seen to keep a function awake while the host runs.

    Source: Documentation/ABI/testing/sysfs-devices-power: ``on`` prevents it from being suspended at run time.
    """
    return value_of(function.power_control, None) == "on"


def opens_asleep(host: Host, function: Function, control: AcsFlag) -> bool:
    """Whether a port that has this control word, and may sleep, may wake up with less of what closes it."""
    if not may_sleep(host, function):
        return False
    kernel = policy(host, function)
    return bool(control & REDIRECTING) if kernel is None else bool(control & REDIRECTING & ~kernel)
