"""What ``nvidia-smi -q`` prints of each GPU as text, as the elements that ``nvidia-smi -q -x`` has for the same.

Source of the form: the program's own output (drivers 290 to 580)::

    ==============NVSMI LOG==============
    Attached GPUs                             : 2
    GPU 00000000:AD:00.0
        Product Name                          : NVIDIA H100 NVL
        MIG Mode
            Current                           : Disabled
        GPU UUID                              : GPU-…
        PCI
            Device Id                         : 0x232110DE
            Bus Id                            : 00000000:AD:00.0
        Fabric
            State                             : N/A

A heading's lines stand further to the right. ``-d`` prints some of the sections only.
"""

from __future__ import annotations

from collections.abc import Iterator

from atoll.host.links.text import address_in
from atoll.host.links.xml import Element

__all__ = ["may_be_smi_log", "parse_smi_log"]

_SECTIONS = {
    "PCI": "pci",
    "MIG Mode": "mig_mode",
    "Fabric": "fabric",
    "Platform Info": "platformInfo",
    "MIG Device": "mig_devices",
}
_VALUES = {
    ("", "Product Name"): "product_name",
    ("", "GPU UUID"): "uuid",
    ("", "GPU C2C Mode"): "c2c_mode",
    ("", "C2C Mode"): "c2c_mode",
    ("pci", "Bus Id"): "pci_bus_id",
    ("pci", "Device Id"): "pci_device_id",
    ("pci", "Sub System Id"): "pci_sub_system_id",
    ("pci", "Base Classcode"): "pci_base_class",
    ("pci", "Sub Classcode"): "pci_sub_class",
    ("mig_mode", "Current"): "current_mig",
    ("fabric", "State"): "state",
    ("fabric", "Status"): "status",
    ("fabric", "CliqueId"): "cliqueId",
    ("fabric", "ClusterUUID"): "clusterUuid",
    ("platformInfo", "Module Id"): "module_id",
}
_CLASSES = ("pci_base_class", "pci_sub_class")
_UNTOLD = "untold"
_MOST_LINES = 1 << 18


def may_be_smi_log(data: bytes) -> bool:
    """Whether a text has what such a log has."""
    return b"GPU " in data and b"Product Name  " in data


def parse_smi_log(text: str) -> Element | None:
    """Return the ``nvidia_smi_log`` that a text is; None where it shows no GPU in this form.

    Of a GPU that several logs show, all is taken that they show.
    """
    root = Element("nvidia_smi_log")
    attached: set[str] = set()
    gpus: dict[object, Element] = {}
    for name, lines in _gpus(text, attached):
        address = address_in(name)
        if address is None:
            continue
        gpu = gpus.setdefault(address, Element("gpu", {"id": name}))
        _take(gpu, lines)
    root.children = [Element("attached_gpus", text=attached.pop() if len(attached) == 1 else _UNTOLD)]
    root.children += gpus.values()
    return root if gpus else None


def _gpus(text: str, attached: set[str]) -> Iterator[tuple[str, list[str]]]:
    """Yield the address and the lines of each GPU; what the log's heading counts goes into ``attached``."""
    name, lines, margin = "", list[str](), 0
    for line in text.splitlines()[:_MOST_LINES]:
        words = line.split()
        indent = len(line) - len(line.lstrip())
        if len(words) == 2 and words[0] == "GPU" and address_in(words[1]) is not None:
            if name:
                yield name, lines
            name, lines, margin = words[1], [], indent
        elif line.strip().startswith("Attached GPUs") and ":" in line:
            attached.add(line.rpartition(":")[2].strip())
        elif name and words and indent <= margin:
            yield name, lines
            name, lines = "", []
        elif name:
            lines.append(line)
    if name:
        yield name, lines


def _take(gpu: Element, lines: list[str]) -> None:
    """Add what the lines of a GPU tell."""
    first = min((len(line) - len(line.lstrip()) for line in lines if line.strip()), default=0)
    section: Element | None = None
    inner = 0
    for line in lines:
        indent = len(line) - len(line.lstrip())
        key, colon, value = line.strip().partition(" : ")
        key, value = key.strip(), value.strip()
        if not key:
            continue
        if indent == first:
            section = None
            tag = _SECTIONS.get(key)
            if tag is not None and not colon:
                section = Element("mig_device" if tag == "mig_devices" else tag)
                inner = 0
                (_folder(gpu, tag) if tag == "mig_devices" else gpu).children.append(section)
                continue
        elif section is None:
            continue
        else:
            inner = inner or indent
            if indent != inner:
                continue
        name = _VALUES.get(("" if section is None else section.tag, key))
        if name is not None and colon:
            known = value.removeprefix("0x") if name in _CLASSES else value
            (gpu if section is None else section).children.append(Element(name, text=known))


def _folder(gpu: Element, tag: str) -> Element:
    """Return the element below a GPU that holds others."""
    found = gpu.all(tag)
    if not found:
        gpu.children.append(Element(tag))
    return gpu.all(tag)[0]
