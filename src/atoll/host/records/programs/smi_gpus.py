"""The GPUs of ``nvidia-smi -q -x`` as a host: what little a text has that shows nothing else of the machine.

Source: the program's own output and DTD (``nvsmi_device_v12.dtd``): ``pci_device_id`` and ``pci_sub_system_id`` hold
the device in the upper half and the vendor in the lower; base class and subclass are there since driver 545.
"""

from __future__ import annotations

from atoll.host.fact import Known, Unknown
from atoll.host.gap import Gap, GapKind
from atoll.host.links.xml import Element
from atoll.host.model import UNTOLD_CLASS, Function, Host
from atoll.host.records.hexadecimal import hexadecimal
from atoll.host.records.shown import Shown, Standing, host_of_shown
from atoll.pci.address import Address

__all__ = ["GPUS_ONLY", "read_smi_gpus"]

_LONE = "nvidia-smi shows GPUs only, not what stands beside them"
GPUS_ONLY = Gap(
    "all functions but GPUs, and what stands above them",
    "nvidia-smi shows neither",
    "name an lspci text or a folder of the same machine as well: --host lspci.txt --host gpus.xml",
    GapKind.GPUS_ONLY,
)
"""What such a record leaves out, until it is merged with one that shows more."""


def read_smi_gpus(root: Element, *, name: str) -> Host:
    """Return the host of an ``nvidia_smi_log``. Raises InputError where it shows no GPU."""
    shown = Shown.of(name)
    for gpu in root.all("gpu"):
        function = _function(gpu, shown.name)
        if function is not None:
            shown.add(function, Standing())
    return host_of_shown(shown, path=name, lone=_LONE, left_out=(GPUS_ONLY,), no_groups="nvidia-smi shows no groups")


def _function(gpu: Element, source: str) -> Function | None:
    ids = _halves(gpu.value("pci", "pci_device_id"))
    try:
        address = Address.parse(gpu.value("pci", "pci_bus_id") or gpu.attributes.get("id", ""))
    except ValueError:
        return None
    if ids is None:
        return None
    subsystem = _halves(gpu.value("pci", "pci_sub_system_id"))
    base, sub = hexadecimal(gpu.value("pci", "pci_base_class"), 2), hexadecimal(gpu.value("pci", "pci_sub_class"), 2)
    unread = Unknown(f"{source}: nvidia-smi does not show it")
    return Function(
        address=address,
        vendor=ids[0],
        device=ids[1],
        class_code=UNTOLD_CLASS if base is None or sub is None else base << 16 | sub << 8,
        parent=None,
        host_bridge="",
        multifunction=unread,
        port_type=unread,
        acs=Unknown(f"{source}: nvidia-smi does not show configuration space"),
        subsystem=unread if subsystem is None else Known(subsystem, source),
        driver=Known("nvidia", source),
    )


def _halves(text: str) -> tuple[int, int] | None:
    number = hexadecimal(text.removeprefix("0x"), 8)
    return None if number is None or len(text.removeprefix("0x")) != 8 else (number & 0xFFFF, number >> 16)
