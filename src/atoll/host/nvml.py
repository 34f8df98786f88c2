"""What NVML tells of GPUs and their NVLinks on the machine that this runs on, as a record of ours.

Source: nvidia-ml-py (``pynvml``) and NVIDIA's NVML API reference: ``nvmlDeviceGetNvLinkState``,
``nvmlDeviceGetNvLinkRemotePciInfo``, ``nvmlDeviceGetNvLinkRemoteDeviceType``, ``nvmlDeviceGetC2cModeInfoV``,
``nvmlDeviceGetGpuFabricInfoV``, ``nvmlDeviceGetMigMode``, and of each link the fields NVLINK_REMOTE_NVLINK_ID and
NVLINK_GET_SPEED (MB/s). What a driver or a GPU does not support is left out. It runs as a process of its own: a driver
that hangs can be left.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from typing import Any

__all__ = ["SCHEMA", "is_available", "main", "query"]

SCHEMA = "atoll.nvml/1"
_DRIVER = "/proc/driver/nvidia/version"
_MODULE = "pynvml"
_LINKS = 36
"""``NVML_NVLINK_MAX_LINKS`` of today, where the module is older than the constant."""
_REMOTE_LINK, _SPEED = 146, 164
"""``NVML_FI_DEV_NVLINK_REMOTE_NVLINK_ID`` and ``NVML_FI_DEV_NVLINK_GET_SPEED`` in nvml.h."""
_COMPLETED = 3
"""``NVML_GPU_FABRIC_STATE_COMPLETED``."""
_MEMBERS = {0: "dVal", 1: "uiVal", 2: "ulVal", 3: "ullVal", 4: "sllVal", 5: "siVal"}
"""The member of a field's value that its ``valueType`` names (``nvmlValueType_t``)."""


def is_available() -> bool:
    """Whether NVIDIA's driver is loaded and nvidia-ml-py is installed; nothing is imported for it."""
    try:
        with open(_DRIVER, "rb"):
            # Only here: most machines have no such driver.
            from importlib.util import find_spec

            return find_spec(_MODULE) is not None
    except (OSError, ValueError):
        return False


def query(nvml: Any) -> dict[str, object]:
    """Return what the module tells, as a record's document. Raises its NVMLError where it tells nothing."""
    nvml.nvmlInit()
    try:
        gpus = []
        for index in range(nvml.nvmlDeviceGetCount()):
            gpu = _asked(nvml, partial(_gpu, nvml, index))
            if gpu is not None:
                gpus.append(gpu)
        return {"schema": SCHEMA, "gpus": gpus}
    finally:
        nvml.nvmlShutdown()


def _asked(nvml: Any, question: Callable[[], Any]) -> Any:
    """Return the answer; None where the driver, the GPU or an old module has none."""
    try:
        return question()
    except (nvml.NVMLError, AttributeError):
        return None


def _gpu(nvml: Any, index: int) -> dict[str, object]:
    handle = nvml.nvmlDeviceGetHandleByIndex(index)
    c2c = _asked(nvml, lambda: nvml.nvmlDeviceGetC2cModeInfoV(handle))
    return {
        "index": index,
        "bus_id": _text(nvml.nvmlDeviceGetPciInfo(handle).busId),
        "uuid": _text(_asked(nvml, lambda: nvml.nvmlDeviceGetUUID(handle)) or ""),
        "links": [link for number in range(_most(nvml)) if (link := _link(nvml, handle, number)) is not None],
        "c2c": None if c2c is None else bool(c2c.isC2cEnabled),
        "fabric": _asked(nvml, lambda: _fabric(nvml, handle)),
        "instances": _asked(nvml, lambda: _instances(nvml, handle)),
    }


def _most(nvml: Any) -> int:
    return int(getattr(nvml, "NVML_NVLINK_MAX_LINKS", _LINKS))


def _link(nvml: Any, handle: Any, number: int) -> dict[str, object] | None:
    state = _asked(nvml, lambda: nvml.nvmlDeviceGetNvLinkState(handle, number))
    if state is None:
        return None
    link: dict[str, object] = {"link": number, "up": bool(state)}
    if state:
        remote = _asked(nvml, lambda: nvml.nvmlDeviceGetNvLinkRemotePciInfo(handle, number))
        link["remote"] = None if remote is None else _text(remote.busId)
        link["remote_type"] = _asked(nvml, lambda: int(nvml.nvmlDeviceGetNvLinkRemoteDeviceType(handle, number)))
        link["remote_link"] = _field(nvml, handle, _REMOTE_LINK, number)
        link["megabytes_per_second"] = _field(nvml, handle, _SPEED, number)
    return link


def _field(nvml: Any, handle: Any, identity: int, link: int) -> int | None:
    found = _asked(nvml, lambda: nvml.nvmlDeviceGetFieldValues(handle, [(identity, link)]))
    if not found or found[0].nvmlReturn != 0 or found[0].valueType not in _MEMBERS:
        return None
    return int(getattr(found[0].value, _MEMBERS[found[0].valueType]))


def _fabric(nvml: Any, handle: Any) -> dict[str, object] | None:
    from ctypes import byref

    info = nvml.c_nvmlGpuFabricInfo_v2_t()
    nvml.nvmlDeviceGetGpuFabricInfoV(handle, byref(info))
    if info.state != _COMPLETED or info.status != 0:
        return None
    digits = bytes(info.clusterUuid).hex()
    cluster = "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))
    return {"cluster": cluster, "clique": int(info.cliqueId)}


def _instances(nvml: Any, handle: Any) -> int | None:
    """How many instances (MIG) a GPU is split in; None where it is not split."""
    current, _ = nvml.nvmlDeviceGetMigMode(handle)
    if not current:
        return None
    places = range(nvml.nvmlDeviceGetMaxMigDeviceCount(handle))
    found = (_asked(nvml, partial(nvml.nvmlDeviceGetMigDeviceHandleByIndex, handle, place)) for place in places)
    return sum(instance is not None for instance in found)


def _text(words: str | bytes) -> str:
    return words.decode("ascii", "replace") if isinstance(words, bytes) else words


def main() -> int:
    """Print the record; the exit code is 1 where NVML tells nothing."""
    import importlib
    import json

    nvml = importlib.import_module(_MODULE)
    try:
        document = query(nvml)
    except nvml.NVMLError as error:
        print(f"NVML: {error}", file=sys.stderr)
        return 1
    print(json.dumps(document))
    return 0


if __name__ == "__main__":
    sys.exit(main())
