"""A module that answers as nvidia-ml-py does: its structures, its errors, its functions, for made-up GPUs."""

from __future__ import annotations

from collections.abc import Sequence
from ctypes import Structure, Union, c_char, c_double, c_int, c_longlong, c_ubyte, c_uint, c_ulong, c_ulonglong
from dataclasses import dataclass, field
from typing import Any

__all__ = ["FakeGpu", "FakeLink", "FakeNvml", "NVMLError"]


class NVMLError(Exception):
    """The root of the module's errors."""


class nvmlPciInfo_t(Structure):
    _fields_ = [
        ("busIdLegacy", c_char * 16),
        ("domain", c_uint),
        ("bus", c_uint),
        ("device", c_uint),
        ("pciDeviceId", c_uint),
        ("pciSubSystemId", c_uint),
        ("busId", c_char * 32),
    ]


class c_nvmlValue_t(Union):
    _fields_ = [
        ("dVal", c_double),
        ("uiVal", c_uint),
        ("ulVal", c_ulong),
        ("ullVal", c_ulonglong),
        ("sllVal", c_longlong),
        ("siVal", c_int),
    ]


class c_nvmlFieldValue_t(Structure):
    _fields_ = [
        ("fieldId", c_uint),
        ("scopeId", c_uint),
        ("timestamp", c_longlong),
        ("latencyUsec", c_longlong),
        ("valueType", c_uint),
        ("nvmlReturn", c_uint),
        ("value", c_nvmlValue_t),
    ]


class c_nvmlC2cModeInfo_v1_t(Structure):
    _fields_ = [("isC2cEnabled", c_uint)]


class c_nvmlGpuFabricInfo_v2_t(Structure):
    _fields_ = [
        ("version", c_uint),
        ("clusterUuid", c_ubyte * 16),
        ("status", c_uint),
        ("cliqueId", c_uint),
        ("state", c_ubyte),
        ("healthMask", c_uint),
    ]


@dataclass(slots=True)
class FakeLink:
    """A link of a GPU: where it leads, None for down."""

    remote: str | None
    remote_link: int | None = None
    speed: int = 25781


@dataclass(slots=True)
class FakeGpu:
    """A GPU as the driver knows it."""

    bus_id: str
    links: Sequence[FakeLink] = ()
    c2c: bool | None = None
    clique: int | None = None
    instances: int | None = None
    """How many instances it is split in; None: not split."""
    lost: bool = False
    """It fell off the bus: every question about it fails."""


@dataclass(slots=True)
class FakeNvml:
    """The module. A handle is the GPU's index."""

    gpus: Sequence[FakeGpu]
    loads: bool = True
    calls: list[str] = field(default_factory=list)
    NVMLError: type[Exception] = NVMLError
    NVML_NVLINK_MAX_LINKS: int = 36
    c_nvmlGpuFabricInfo_v2_t: type[Structure] = c_nvmlGpuFabricInfo_v2_t

    def nvmlInit(self) -> None:
        self.calls.append("init")
        if not self.loads:
            raise NVMLError("Driver Not Loaded")

    def nvmlShutdown(self) -> None:
        self.calls.append("shutdown")

    def nvmlDeviceGetCount(self) -> int:
        return len(self.gpus)

    def nvmlDeviceGetHandleByIndex(self, index: int) -> int:
        if self.gpus[index].lost:
            raise NVMLError("GPU is lost")
        return index

    def nvmlDeviceGetPciInfo(self, handle: int) -> nvmlPciInfo_t:
        return nvmlPciInfo_t(busId=self.gpus[handle].bus_id.encode())

    def nvmlDeviceGetMigMode(self, handle: int) -> list[int]:
        split = int(self.gpus[handle].instances is not None)
        return [split, split]

    def nvmlDeviceGetMaxMigDeviceCount(self, handle: int) -> int:
        return 7

    def nvmlDeviceGetMigDeviceHandleByIndex(self, handle: int, index: int) -> int:
        if index >= (self.gpus[handle].instances or 0):
            raise NVMLError("Not Found")
        return 1000 + index

    def nvmlDeviceGetUUID(self, handle: int) -> str:
        return f"GPU-00000000-0000-0000-0000-{handle:012}"

    def nvmlDeviceGetC2cModeInfoV(self, handle: int) -> c_nvmlC2cModeInfo_v1_t:
        if (c2c := self.gpus[handle].c2c) is None:
            raise NVMLError("Not Supported")
        return c_nvmlC2cModeInfo_v1_t(isC2cEnabled=c2c)

    def nvmlDeviceGetGpuFabricInfoV(self, handle: int, info: Any) -> int:
        if (clique := self.gpus[handle].clique) is None:
            raise NVMLError("Not Supported")
        info._obj.state, info._obj.cliqueId, info._obj.clusterUuid[15] = 3, clique, 9
        return 0

    def _link(self, handle: int, link: int) -> FakeLink:
        if link >= len(self.gpus[handle].links):
            raise NVMLError("Invalid Argument")
        return self.gpus[handle].links[link]

    def nvmlDeviceGetNvLinkState(self, handle: int, link: int) -> int:
        return int(self._link(handle, link).remote is not None)

    def nvmlDeviceGetNvLinkRemotePciInfo(self, handle: int, link: int) -> nvmlPciInfo_t:
        return nvmlPciInfo_t(busId=(self._link(handle, link).remote or "").encode())

    def nvmlDeviceGetNvLinkRemoteDeviceType(self, handle: int, link: int) -> int:
        return 0

    def nvmlDeviceGetFieldValues(self, handle: int, fields: Sequence[tuple[int, int]]) -> Sequence[c_nvmlFieldValue_t]:
        values = []
        for identity, link in fields:
            answer = {146: self._link(handle, link).remote_link, 164: self._link(handle, link).speed}[identity]
            status = 3 if answer is None else 0
            value = c_nvmlFieldValue_t(fieldId=identity, scopeId=link, valueType=1, nvmlReturn=status)
            value.value.uiVal = answer or 0
            values.append(value)
        return values
