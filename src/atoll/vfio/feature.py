"""Features of an open device beyond what all have: asked for by probing, never by the kernel's version."""

from __future__ import annotations

import ctypes
import errno
from uuid import UUID

from atoll.vfio.descriptor import Descriptor
from atoll.vfio.diagnosis import other
from atoll.vfio.errors import VfioMissing
from atoll.vfio.event import Event
from atoll.vfio.uapi.device import DeviceRequest
from atoll.vfio.uapi.feature import Feature, FeatureFlags, FeatureHeader, LowPowerWakeup

__all__ = ["enter_low_power", "leave_low_power", "set_vf_token", "supports"]

_ABSENT = (errno.ENOTTY, errno.EINVAL, errno.EOPNOTSUPP)


def supports(descriptor: Descriptor, feature: Feature, access: FeatureFlags | None = None) -> bool:
    """Whether the device has a feature, and may get or set it as ``access`` says."""
    asked = FeatureHeader(argsz=ctypes.sizeof(FeatureHeader), flags=feature | FeatureFlags.PROBE | (access or 0))
    try:
        descriptor.ioctl(DeviceRequest.FEATURE, bytearray(asked))
    except OSError as error:
        if error.errno in _ABSENT:
            return False
        raise other(error, f"asking {descriptor.name} for {feature.name}") from error
    return True


def _set_feature(descriptor: Descriptor, feature: Feature, data: bytes = b"") -> None:
    """Set a feature. Raises VfioMissing where the device, its driver or the kernel has it not."""
    size = ctypes.sizeof(FeatureHeader) + len(data)
    asked = FeatureHeader(argsz=size, flags=feature | FeatureFlags.SET)
    try:
        descriptor.ioctl(DeviceRequest.FEATURE, bytearray(asked) + data)
    except OSError as error:
        if error.errno == errno.ENOTTY:
            raise VfioMissing(
                f"{descriptor.name} has no {feature.name}",
                hint="the device, its driver or the kernel would have to have it: see supports()",
                number=errno.ENOTTY,
            ) from error
        raise other(error, f"setting {feature.name} of {descriptor.name}") from error


def enter_low_power(descriptor: Descriptor, wakeup: Event | None = None) -> None:
    """Let the device sleep. Any access wakes it; with ``wakeup``, then it stays awake and the event is signalled."""
    if wakeup is None:
        _set_feature(descriptor, Feature.LOW_POWER_ENTRY)
    else:
        data = bytes(LowPowerWakeup(wakeup_eventfd=wakeup.fileno()))
        _set_feature(descriptor, Feature.LOW_POWER_ENTRY_WITH_WAKEUP, data)


def leave_low_power(descriptor: Descriptor) -> None:
    """Wake the device and keep it awake."""
    _set_feature(descriptor, Feature.LOW_POWER_EXIT)


def set_vf_token(descriptor: Descriptor, token: UUID) -> None:
    """Set what whoever opens a virtual function of the device has to show."""
    _set_feature(descriptor, Feature.PCI_VF_TOKEN, token.bytes)
