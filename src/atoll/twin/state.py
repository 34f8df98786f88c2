"""What of a twin changes: its state as a table for a document, and put back from one that is not trusted."""

from __future__ import annotations

from typing import Any

from atoll.pci.address import Address
from atoll.twin.device import Device, Group
from atoll.twin.function import Function
from atoll.twin.kernel import Kernel
from atoll.twin.resets import METHODS
from atoll.twin.spec import DomainKind
from atoll.twin.vfio import Holder, Open, Vfio
from atoll.twin.vmd import DRIVER

__all__ = ["captured", "restore"]


def captured(kernel: Kernel, vfio: Vfio, own_files: dict[str, bytes]) -> dict[str, Any]:
    """Return the state of a machine."""
    functions = kernel.hardware.functions.values()
    return {
        "functions": {str(function.address): _function(function) for function in functions},
        "devices": {str(device.address): _device(device) for device in kernel.devices.values()},
        "groups": {str(group.number): _group(group) for group in kernel.groups.values()},
        "dynamic_ids": {driver: [list(pair) for pair in ids] for driver, ids in kernel.dynamic_ids.items()},
        "npu_seen": [str(address) for address in sorted(kernel.npu_seen)],
        "holders": {holder.name: _holder(holder) for holder in vfio.holders.values()},
        "next_pid": vfio.next_pid,
        "boots": kernel.boots,
        "files": {path: content.hex() for path, content in sorted(own_files.items())},
    }


def restore(state: dict[str, Any], kernel: Kernel, vfio: Vfio, own_files: dict[str, bytes]) -> None:
    """Put a state into a machine that has not booted. ValueError, LookupError or TypeError where it is unsound."""
    _restore_functions(_table(state["functions"]), kernel)
    _restore_groups(_table(state["groups"]), kernel)
    _restore_devices(_table(state["devices"]), kernel)
    for driver, ids in _table(state["dynamic_ids"]).items():
        if driver not in kernel.drivers:
            raise ValueError(f"no driver {driver!r}")
        kernel.dynamic_ids[driver] = [(_number(pair[0], 0xFFFF), _number(pair[1], 0xFFFF)) for pair in ids]
    kernel.npu_seen = {_known(kernel, text) for text in _list(state["npu_seen"])}
    _restore_holders(_table(state["holders"]), kernel, vfio)
    vfio.next_pid = _number(state["next_pid"], 1 << 22)
    kernel.boots = _number(state.get("boots", 1), 1 << 30)
    _restore_files(_table(state["files"]), own_files)


# -- capturing


def _function(function: Function) -> dict[str, Any]:
    registers = {f"{offset:#x}": value for offset, value in sorted(function.registers.items())}
    return {"config": bytes(function.config).rstrip(b"\0").hex(), "registers": registers}


def _device(device: Device) -> dict[str, Any]:
    return {
        "driver": device.driver,
        "override": device.override,
        "group": device.group,
        "methods": device.methods,
        "alone": device.found_alone,
        "enabled": device.enabled,
        "master": device.master,
        "ari": device.ari,
    }


def _group(group: Group) -> dict[str, Any]:
    return {"kind": str(group.kind), "members": [str(member) for member in group.members]}


def _holder(holder: Holder) -> dict[str, Any]:
    return {
        "pid": holder.pid,
        "slot": holder.slot,
        "machine": holder.machine,
        "devices": {
            str(address): {"saved": opened.saved.rstrip(b"\0").hex(), "reset_works": opened.reset_works}
            for address, opened in holder.devices.items()
        },
    }


# -- restoring


def _restore_functions(table: dict[str, Any], kernel: Kernel) -> None:
    if set(table) != {str(address) for address in kernel.hardware.functions}:
        raise ValueError("other functions than the machine has")
    for text, entry in table.items():
        function = kernel.hardware.functions[_known(kernel, text)]
        config = bytes.fromhex(entry["config"])
        if len(config) > len(function.config):
            raise ValueError(f"configuration space of {text} is too long")
        function.config[:] = config.ljust(len(function.config), b"\0")
        fixed = (0x00, 0x02, 0x0E)
        if any(function.config[at] != function.layout.image[at] for at in fixed):
            raise ValueError(f"configuration space of {text} is another device's")
        for offset, value in _table(entry["registers"]).items():
            function.registers[_number(int(offset, 16), 1 << 40)] = _number(value, 0xFFFFFFFF)


def _restore_groups(table: dict[str, Any], kernel: Kernel) -> None:
    for number, entry in table.items():
        members = [_known(kernel, text) for text in _list(entry["members"])]
        if not members or len(set(members)) != len(members):
            raise ValueError(f"group {number} has no members, or one twice")
        kernel.groups[_number(int(number), 1 << 16)] = Group(int(number), DomainKind(entry["kind"]), members)


def _restore_devices(table: dict[str, Any], kernel: Kernel) -> None:
    for text, entry in table.items():
        address = _known(kernel, text)
        device = Device(address, _driver(kernel, entry["driver"]), _text(entry["override"]))
        device.enabled = _flag(entry["enabled"])
        device.master = _flag(entry.get("master", False))
        device.ari = _flag(entry.get("ari", False))
        device.found_alone = _flag(entry["alone"])
        if entry["methods"] is not None:
            device.methods = [_text(method) for method in _list(entry["methods"])]
            if not set(device.methods) <= set(METHODS):
                raise ValueError(f"reset methods of {text}: {device.methods}")
        if entry["group"] is not None:
            device.group = _number(entry["group"], 1 << 16)
            if device.group not in kernel.groups or address not in kernel.groups[device.group].members:
                raise ValueError(f"{text} is not in group {device.group}")
        kernel.devices[address] = device
    _check_agreement(kernel)


def _check_agreement(kernel: Kernel) -> None:
    """Raise ValueError where groups, buses and drivers are not of one machine."""
    members = [member for group in kernel.groups.values() for member in group.members]
    grouped = [device.address for device in kernel.devices.values() if device.group is not None]
    if sorted(members) != sorted(grouped):
        raise ValueError("groups and devices do not agree")
    for address in kernel.devices:
        function = kernel.hardware.functions[address]
        parent, behind = kernel.hardware.parent(function), kernel.hardware.real_requester(function)
        if parent is not None and parent.address not in kernel.devices:
            raise ValueError(f"{address} is below {parent.address}, which was removed")
        if behind is not function:
            found = kernel.devices.get(behind.address)
            if found is None or found.driver != DRIVER:
                raise ValueError(f"{address} is behind {behind.address}, which no driver has")


def _restore_holders(table: dict[str, Any], kernel: Kernel, vfio: Vfio) -> None:
    slots: set[int] = set()
    for name, entry in table.items():
        holder = Holder(name, _number(entry["pid"], 1 << 22), _number(entry["slot"], 1000), _flag(entry["machine"]))
        if holder.slot in slots or not entry["devices"]:
            raise ValueError(f"holder {name!r} shares memory, or holds nothing")
        slots.add(holder.slot)
        vfio.holders[name] = holder
        for text, opened in _table(entry["devices"]).items():
            device = kernel.devices[_known(kernel, text)]
            if device.driver != "vfio-pci" or device.group is None or device.address in kernel.open_devices:
                raise ValueError(f"{text} cannot be open")
            if kernel.owner_of_group.setdefault(device.group, name) != name:
                raise ValueError(f"group {device.group} has two owners")
            size = len(kernel.hardware.functions[device.address].config)
            saved = bytes.fromhex(opened["saved"])
            if len(saved) > size:
                raise ValueError(f"saved configuration space of {text} is too long")
            holder.devices[device.address] = Open(saved.ljust(size, b"\0"), _flag(opened["reset_works"]))
            kernel.open_devices.add(device.address)


def _restore_files(table: dict[str, Any], own_files: dict[str, bytes]) -> None:
    for path, content in table.items():
        if not path.startswith(("var/lib/atoll/", "run/atoll/")) or {"", ".", ".."} & set(path.split("/")):
            raise ValueError(f"not a file of atoll's own: {path!r}")
        own_files[path] = bytes.fromhex(content)
    for path in own_files:
        parts = path.split("/")
        if any("/".join(parts[:n]) in own_files for n in range(1, len(parts))):
            raise ValueError(f"{path!r} lies in a file")


def _known(kernel: Kernel, text: object) -> Address:
    address = Address.parse(_text(text))
    if address not in kernel.hardware.functions:
        raise ValueError(f"no function {text}")
    return address


def _driver(kernel: Kernel, value: object) -> str | None:
    if value is not None and value not in kernel.drivers:
        raise ValueError(f"no driver {value!r}")
    return None if value is None else _text(value)


def _table(value: object) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise TypeError(f"not a table: {value!r:.60}")
    return value


def _list(value: object) -> list[Any]:
    if not isinstance(value, list):
        raise TypeError(f"not a list: {value!r:.60}")
    return value


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"not a text: {value!r:.60}")
    return value


def _flag(value: object) -> bool:
    if not isinstance(value, bool):
        raise TypeError(f"neither true nor false: {value!r:.60}")
    return value


def _number(value: object, most: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= most:
        raise ValueError(f"not a number up to {most:#x}: {value!r:.60}")
    return value
