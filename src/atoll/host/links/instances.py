"""GPUs that are split in instances (MIG): one PCI function each, whatever runs on their instances.

Source of the forms: nvidia-smi's own output. ``-L`` prints the instances below their GPU, ``-q -x`` the mode, which is
on as well while there is no instance::

    GPU 0: NVIDIA A100-SXM4-40GB (UUID: GPU-…)
      MIG 3g.20gb     Device  0: (UUID: MIG-…)

What is between instances is up to the GPU and its driver: nothing that atoll reads tells it. Programs on instances get
no NVLink (RAPIDS' deployment guide, "Multi-Instance GPU"); links that are down for it can come up once the GPU is whole
again.
"""

from __future__ import annotations

from collections.abc import Mapping

from atoll.host.gap import Gap
from atoll.host.links.smi import parse_gpu_list
from atoll.host.links.xml import Element

__all__ = ["instance_gaps", "parse_instances", "split_gpus"]

_HINT = "give each GPU to one owner, or trust its driver with what is between instances"
_MOST = 4096


def parse_instances(text: str) -> dict[int, int]:
    """Return how many instances ``nvidia-smi -L`` lists below each GPU, by its index; GPUs without are left out."""
    found: dict[int, int] = {}
    index: int | None = None
    for line in text.splitlines():
        gpus = parse_gpu_list(line)
        if gpus:
            index = gpus[0].index
            continue
        words = line.split()
        if index is not None and len(words) > 3 and words[0] == "MIG" and "(UUID:" in words and len(found) < _MOST:
            found[index] = found.get(index, 0) + 1
    return found


def split_gpus(gpu: Element) -> int | None:
    """Return how many instances a GPU of ``nvidia-smi -q -x`` has; None where it is not split."""
    if gpu.value("mig_mode", "current_mig") != "Enabled":
        return None
    return sum(len(devices.all("mig_device")) for devices in gpu.all("mig_devices"))


def instance_gaps(counts: Mapping[str, int]) -> list[Gap]:
    """Return that GPUs are split, and what that means here, by what to call them."""
    return [
        Gap(
            f"instances (MIG) of {gpu}",
            f"it is split in {count}, which are one PCI function: what is between them is not looked at, and its "
            "NVLinks may be off only as long as it is split",
            _HINT,
        )
        for gpu, count in sorted(counts.items())
    ]
