"""The functions of NCCL's or RCCL's topology as a host: for where no other record of the machine shows any.

Source: NCCL ``src/graph/xml.cc`` (``ncclTopoGetXmlFromSys``: class, ids and subsystem's ids as sysfs has them, empty
where it has no such function; of the bridges on the way up each second one is left out, so what stands right above is
not told) and ``src/transport/net_ib.cc`` (``ncclIbGetPciPath``: a port of a network device, or a virtual function, is
shown under function 0 of the physical one). ``NCCL_TOPO_FILE`` is written by hand as well, with bridges that are none
(``ffff:ff:01.0``, vendor 0): such a file proves nothing against what another record shows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from atoll.errors import InputError
from atoll.host.fact import Known, Unknown
from atoll.host.gap import Gap
from atoll.host.links.nccl import check_one_machine
from atoll.host.links.text import address_in
from atoll.host.links.xml import Element, is_xml, parse_series
from atoll.host.model import Function, Host
from atoll.host.records.bare import bare_function
from atoll.host.records.hexadecimal import hexadecimal
from atoll.host.records.shown import Shown, Standing, host_of_shown
from atoll.pci.address import Address
from atoll.pci.class_code import DeviceClass
from atoll.pci.header import HeaderType
from atoll.pci.vendor import NVIDIA

__all__ = ["check_nccl_together", "read_nccl_functions"]

_LONE = "NCCL shows GPUs, network devices and some bridges, not what stands beside them"
_HINT = "name an lspci text or a folder of the same machine as well: --host lspci.txt --host topo.xml"
_LEFT_OUT = (
    Gap("functions that NCCL has no use for, and bridges on the way up", "NCCL leaves them out", _HINT),
    Gap(
        "ports of network devices beyond the first, and virtual functions",
        "NCCL shows them under function 0; and a file for NCCL_TOPO_FILE may be written by hand",
        _HINT,
    ),
)
_NVSWITCH = DeviceClass.OTHER_BRIDGE << 8
_MADE_UP = (0, 0xFFFF)
_PROCESSOR = ("arch", "vendor", "familyid", "modelid")
"""Attributes of a ``<cpu>`` that are the same for each of a machine."""
_NOWHERE = (0xFFFF, 0xFF)
"""Domain and bus that such files give to bridges that are none."""


def read_nccl_functions(data: bytes, *, name: str) -> Host | None:
    """Return the host of a ``<system>``, None for what is no such document, is damaged or shows no function.

    Raises InputError where it shows several machines.
    """
    root = _system(data, name)
    if root is None:
        return None
    check_one_machine(root, name=name)
    shown = Shown.of(name)
    for element in root.walk():
        function = None
        if element.tag == "pci":
            function = _function(element, shown.name)
        elif element.tag == "nvlink" and _number(element, "tclass", 6) == _NVSWITCH:
            function = _switch(element, shown.name)
        if function is not None and function.address not in shown.functions:
            shown.add(function, Standing())
    if not shown.functions:
        return None
    return host_of_shown(shown, path=name, lone=_LONE, left_out=_LEFT_OUT, no_groups="NCCL shows no IOMMU groups")


def check_nccl_together(texts: Sequence[tuple[str, bytes]]) -> None:
    """Raise InputError where two topologies, by their records' names, are not of one machine: a script can hold many.

    Each shows the processors and the ids of GPUs. What else differs (which GPUs, ``host_hash``) differs between
    containers of one machine as well.
    """
    earlier: list[tuple[str, set[tuple[str, ...]], dict[str, tuple[str, str]]]] = []
    for name, data in texts:
        root = _system(data, name)
        if root is None:
            continue
        cpus = {tuple(cpu.attributes[word] for word in _PROCESSOR) for cpu in root.all("cpu") if _is_told(cpu)}
        gpus = {
            pci.attributes["busid"]: (pci.attributes.get("vendor", ""), pci.attributes.get("device", ""))
            for pci in root.walk()
            if pci.tag == "pci" and pci.all("gpu") and "busid" in pci.attributes
        }
        for other, their_cpus, their_gpus in earlier:
            others = [at for at in sorted(gpus.keys() & their_gpus.keys()) if _differ(gpus[at], their_gpus[at])]
            if (cpus and their_cpus and cpus.isdisjoint(their_cpus)) or others:
                names = name if name == other else f"{other} and {name}"
                what = f"at {others[0]} they show different GPUs" if others else "they show different processors"
                hint = "name the records of one machine alone, or part the text"
                raise InputError(f"{names}: NCCL's topologies of two machines: {what}", hint=hint)
        earlier.append((name, cpus, gpus))


def _is_told(cpu: Element) -> bool:
    return all(cpu.attributes.get(word) for word in _PROCESSOR)


def _differ(one: tuple[str, str], other: tuple[str, str]) -> bool:
    return all(one) and all(other) and one != other


def _system(data: bytes, name: str) -> Element | None:
    """Return the ``<system>`` that data is; None for another document, for none and for what is damaged."""
    if not is_xml(data):
        return None
    try:
        root = parse_series(data, name=name)[0]
    except InputError:
        return None
    return root if root.tag == "system" and "version" in root.attributes else None


def _function(element: Element, source: str) -> Function | None:
    address, class_code = address_in(element.attributes.get("busid", "")), _number(element, "class", 6)
    vendor, device = _number(element, "vendor", 4), _number(element, "device", 4)
    if address is None or class_code is None or vendor in _MADE_UP or address[:2] == _NOWHERE:
        return None
    changes: dict[str, Any] = {}
    subsystem = _number(element, "subsystem_vendor", 4), _number(element, "subsystem_device", 4)
    if class_code >> 8 == DeviceClass.PCI_BRIDGE:
        changes["header"] = Known(HeaderType.BRIDGE, source)
    elif None not in subsystem and subsystem[0] not in _MADE_UP:
        changes["subsystem"] = Known(subsystem, source)
    return _bare(address, (vendor, device), class_code, source, changes)


def _switch(element: Element, source: str) -> Function | None:
    """The NVSwitch that a link leads to; its class was read where it stands (``tclass``)."""
    address = address_in(element.attributes.get("target", ""))
    return None if address is None else _bare(address, (NVIDIA, None), _NVSWITCH, source, {})


def _bare(
    address: Address, ids: tuple[int | None, int | None], class_code: int, source: str, changes: dict[str, Any]
) -> Function:
    vendor, device = ids
    unread = f"{source}: NCCL does not show it"
    if vendor is None or device is None:
        function = bare_function(address, (0xFFFF, 0xFFFF), class_code, unread)
        changes = {**changes, "possible_ids": (ids,)}
    else:
        function = bare_function(address, (vendor, device), class_code, unread)
    return replace(
        function,
        acs=Unknown(f"{source}: NCCL does not show configuration space"),
        driver=Unknown(f"{source}: NCCL shows no drivers"),
        **changes,
    )


def _number(element: Element, attribute: str, digits: int) -> int | None:
    return hexadecimal(element.attributes.get(attribute, "").removeprefix("0x"), digits)
