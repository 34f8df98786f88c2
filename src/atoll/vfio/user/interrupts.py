"""The eventfds by which a server's interrupts reach its client.

Source: QEMU ``docs/interop/vfio-user.rst``, ``VFIO_USER_DEVICE_SET_IRQS``; ``VFIO_DEVICE_SET_IRQS`` in Linux
``include/uapi/linux/vfio.h``.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Mapping

from atoll.vfio.user.device import Irq
from atoll.vfio.user.payload import IrqSetting
from atoll.vfio.user.protocol import IrqFlag, IrqSet
from atoll.vfio.user.signaller import Signaller

__all__ = ["Interrupts"]

_ACTIONS = IrqSet.ACTION_MASK | IrqSet.ACTION_UNMASK | IrqSet.ACTION_TRIGGER


class Interrupts:
    """Which interrupt signals which eventfd, and which are masked."""

    def __init__(self, kinds: Mapping[int, Irq]) -> None:
        self._kinds = kinds
        self._eventfds: dict[tuple[int, int], int] = {}
        self._masked: set[tuple[int, int]] = set()
        self._pending: set[tuple[int, int]] = set()
        self._signaller = Signaller()

    def set(self, setting: IrqSetting, descriptors: list[int]) -> None:
        """Carry out a ``DEVICE_SET_IRQS``. The descriptors become ours whether it succeeds or not.

        OSError EINVAL for interrupts that there are not, or what a kind does not support.
        """
        try:
            self._check(setting, len(descriptors))
        except OSError:
            for descriptor in descriptors:
                os.close(descriptor)
            raise
        action, index = setting.flags & _ACTIONS, setting.index
        if IrqSet.DATA_EVENTFD in setting.flags:
            for number in range(setting.count):
                self._assign((index, setting.start + number), descriptors[number] if descriptors else None)
        elif not setting.count:
            self._disable(index)
        else:
            for number in range(setting.count):
                if not setting.wanted or setting.wanted[number]:
                    self._act(action, (index, setting.start + number))

    def trigger(self, index: int, number: int = 0) -> bool:
        """Signal an interrupt; whether it went out: not while masked, and not where nobody listens."""
        key = index, number
        if key in self._masked:
            self._pending.add(key)
            return False
        descriptor = self._eventfds.get(key)
        if descriptor is None:
            return False
        if IrqFlag.AUTOMASKED in self._kinds[index].flags:
            self._masked.add(key)
        return self._signaller.signal(descriptor)

    def clear(self) -> None:
        """Forget all eventfds and masks."""
        for key in list(self._eventfds):
            self._assign(key, None)
        self._masked.clear()
        self._pending.clear()
        self._signaller.end()

    def _check(self, setting: IrqSetting, given: int) -> None:
        kind = self._kinds.get(setting.index, Irq(0))
        action = setting.flags & _ACTIONS
        if setting.start + setting.count > kind.count:
            raise OSError(errno.EINVAL, f"interrupts {setting.start}+{setting.count} of kind {setting.index}")
        eventfds = IrqSet.DATA_EVENTFD in setting.flags
        if eventfds and (action != IrqSet.ACTION_TRIGGER or given not in (0, setting.count)):
            raise OSError(errno.EINVAL, f"{given} eventfds for {setting.count} interrupts")
        if not eventfds and given:
            raise OSError(errno.EINVAL, f"{given} descriptors that nothing asks for")
        if action != IrqSet.ACTION_TRIGGER and IrqFlag.MASKABLE not in kind.flags:
            raise OSError(errno.EINVAL, f"interrupts of kind {setting.index} cannot be masked")
        disables = setting.flags == IrqSet.DATA_NONE | IrqSet.ACTION_TRIGGER and not setting.start
        if not setting.count and not disables:
            raise OSError(errno.EINVAL, "a setting for no interrupt")

    def _assign(self, key: tuple[int, int], descriptor: int | None) -> None:
        old = self._eventfds.pop(key, None)
        if old is not None:
            os.close(old)
        if descriptor is not None:
            # Nobody waits for a full counter, as long as who sent it leaves the flag.
            os.set_blocking(descriptor, False)
            self._eventfds[key] = descriptor

    def _disable(self, index: int) -> None:
        """Forget a kind's eventfds and masks: once set up anew it is not masked (drivers/vfio/pci/vfio_pci_intrs.c
        ``vfio_intx_disable``, ``vfio_intx_enable``)."""
        for key in [key for key in self._eventfds if key[0] == index]:
            self._assign(key, None)
        for keys in (self._masked, self._pending):
            keys.difference_update([key for key in keys if key[0] == index])

    def _act(self, action: IrqSet, key: tuple[int, int]) -> None:
        if action == IrqSet.ACTION_MASK:
            self._masked.add(key)
        elif action == IrqSet.ACTION_TRIGGER:
            self.trigger(*key)
        else:
            self._masked.discard(key)
            if key in self._pending:
                self._pending.discard(key)
                self.trigger(*key)
