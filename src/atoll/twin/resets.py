"""Resets that the kernel carries out: which methods a function has, what is saved and restored around them.

Sources: drivers/pci/pci.c ``pci_reset_function``, ``pci_reset_fn_methods``, ``pci_parent_bus_reset``,
``pci_save_state`` and ``pci_restore_state``. ACS control is not part of the saved state: after a restore
it is policy. Nor are the registers of Multicast and of portals: nobody restores those.
"""

from __future__ import annotations

import errno
from collections.abc import Iterable

from atoll.pci.address import Address
from atoll.pci.header import PortType
from atoll.twin import v100
from atoll.twin.function import Function
from atoll.twin.kernel import Kernel
from atoll.twin.spec import Model

__all__ = ["METHODS", "Resets"]

METHODS = ("device_specific", "acpi", "flr", "af_flr", "pm", "bus", "cxl_bus")
"""The kernel's names, in the order in which it tries them."""
SUBORDINATE_SINCE = (6, 1)
"""First release here with ``reset_subordinate``: by backports, which 6.1 and 6.12 have."""


class Resets:
    """What resets devices, for a host that writes ``reset`` and for VFIO."""

    def __init__(self, kernel: Kernel) -> None:
        self.kernel = kernel
        self.hardware = kernel.hardware

    # -- methods

    def supported(self, function: Function) -> tuple[str, ...]:
        """Return the methods that were found with a function (``pci_init_reset_methods``), in the kernel's order.

        The first of several on a bus keeps ``bus``, which then fails (ENOTTY). By these it has ``reset`` and
        ``reset_method``, also when it has none any more: files are made once (``pci_dev_reset_attr_is_visible``).
        """
        return self._methods(function, bus=self.kernel.device(function.address).found_alone and self.has_bus(function))

    def _methods(self, function: Function, *, bus: bool) -> tuple[str, ...]:
        has = {"flr": function.spec.flr, "pm": function.spec.pm_reset, "bus": bus}
        return tuple(method for method, there in has.items() if there)

    def has_bus(self, function: Function) -> bool:
        """Whether it hangs from a bridge. Bridges, for which the kernel lists ``bus`` too, are never reset here."""
        return not function.spec.is_bridge and self.hardware.parent(function) is not None

    def alone(self, function: Function) -> bool:
        """Whether a secondary bus reset would hit this function and nothing else."""
        if not self.has_bus(function):
            return False
        mates = self.hardware.beside(function)
        return not any(mate is not function and mate.address in self.kernel.devices for mate in mates)

    def order(self, function: Function) -> tuple[str, ...]:
        """Return the methods in use: the kernel's own, or what was written to ``reset_method``."""
        methods = self.kernel.device(function.address).methods
        return self.supported(function) if methods is None else tuple(methods)

    def usable(self, function: Function) -> tuple[str, ...]:
        """Return the methods in use that work now."""
        return tuple(method for method in self.order(function) if method != "bus" or self.alone(function))

    def set_order(self, address: Address, text: str) -> None:
        """Write ``reset_method``: EINVAL for a name that the function does not have now; default finds out anew."""
        device, function = self.kernel.device(address), self.kernel.function(address)
        names = text.split()
        if names == ["default"]:
            names = list(self._methods(function, bus=self.alone(function)))
        for name in names:
            if name not in self._methods(function, bus=self.alone(function)):
                raise OSError(errno.EINVAL, f"Invalid argument: {address} has no reset method {name!r}")
        device.methods = names

    # -- carrying them out

    def reset_function(self, address: Address) -> None:
        """Reset one function by the first method in its order; ENOTTY where it has none."""
        function = self.kernel.function(address)
        usable = self.usable(function)
        if not usable:
            raise OSError(errno.ENOTTY, f"Inappropriate ioctl for device: {address} has no reset method that works")
        self.by_method(function, usable[0])

    def by_name(self, address: Address, method: str) -> None:
        """Reset one function by a named method, whatever its order; ``subordinate`` resets all below a bridge.

        EINVAL for a name that is none, ENOTTY where the device or the kernel does not have it.
        """
        function = self.kernel.function(address)
        if method not in (*METHODS, "subordinate"):
            raise OSError(errno.EINVAL, f"Invalid argument: {method!r} is no reset method ({' '.join(METHODS)})")
        if method not in self.names(address):
            raise OSError(errno.ENOTTY, f"Inappropriate ioctl for device: {address} has no reset method {method!r}")
        if method == "subordinate":
            self.reset_subordinate(address)
        else:
            self.by_method(function, method)

    def names(self, address: Address) -> tuple[str, ...]:
        """Return the names by which ``by_name`` resets a function now."""
        function = self.kernel.function(address)
        below = function.spec.is_bridge and self.kernel.spec.version >= SUBORDINATE_SINCE
        return (*self._methods(function, bus=self.alone(function)), *(("subordinate",) if below else ()))

    def by_method(self, function: Function, method: str) -> None:
        """Save, reset, restore."""
        saved = self.save([function])
        if method == "bus":
            parent = self.hardware.parent(function)
            assert parent is not None
            self.secondary_bus(parent)
        else:
            function.set_power(0)
            self.hardware.reset_function(function)
        self.restore(saved)

    def reset_subordinate(self, address: Address) -> None:
        """``reset_subordinate``: a secondary bus reset of a bridge, with save and restore of all below."""
        bridge = self.kernel.function(address)
        if not bridge.spec.is_bridge or self.kernel.spec.version < SUBORDINATE_SINCE:
            raise OSError(errno.ENOTTY, f"Inappropriate ioctl for device: {address} has no reset_subordinate")
        self.whole_bus(bridge)

    def whole_bus(self, bridge: Function) -> None:
        """``pci_reset_bus``: everything below a bridge, saved and restored."""
        saved = self.save(f for f in self.hardware.below(bridge) if f.address in self.kernel.devices)
        self.secondary_bus(bridge)
        self.restore(saved)

    def suspend(self) -> None:
        """Suspend to memory and resume: all devices lose power, and get their configuration back."""
        saved = self.save(f for f in self.hardware.functions.values() if f.address in self.kernel.devices)
        virtual = [(f, f.enabled_vfs) for f in self.hardware.functions.values() if f.enabled_vfs]
        self.hardware.lose_power()
        for function, count in virtual:
            function.put(function.layout.sriov + 0x10, 2, count)
            function.put(function.layout.sriov + 0x08, 2, 0x9)
        self.restore(saved)

    # -- parts

    def save(self, functions: Iterable[Function]) -> list[tuple[Function, bytes]]:
        """Keep configuration spaces (the state that counts is D0)."""
        return [(function, bytes(function.config)) for function in functions]

    def restore(self, saved: list[tuple[Function, bytes]]) -> None:
        """Put configuration back, with ACS as the policy says; what the kernel enabled of ATS is on again."""
        for function, config in saved:
            function.put_back(config)
            function.set_power(0)
            function.set_acs(self.kernel.policy_acs())
            function.forget_egress()
            function.set_ats(self.kernel.policy_ats(function))

    def secondary_bus(self, bridge: Function) -> None:
        """Pulse Secondary Bus Reset; the ``isolate_nvlink`` kernel then cuts the GPU below, if there is one."""
        self.hardware.pulse(bridge)
        if self.kernel.spec.isolate and bridge.spec.port is PortType.DOWNSTREAM:
            for function in self.hardware.children(bridge)[:1]:
                if function.spec.model is Model.V100:
                    v100.cut(function.registers, self.mask_by_group(function))

    def mask_by_group(self, function: Function) -> int:
        """Return the links that lead out of a GPU's group, as the patch computes them (v100.py names it)."""
        device = self.kernel.devices.get(function.address)
        if device is None or device.group is None or not self.kernel.blueprint.linked:
            return 0
        mates = {mate.address for mate in self.kernel.in_group(device.group)}
        mask = 0
        for link in self.kernel.blueprint.links:
            for end, number, far in ((link.a, link.a_number, link.b), (link.b, link.b_number, link.a)):
                if end == function.address and far not in mates:
                    mask |= 1 << v100.DISABLE_SHIFT + number
        return mask
