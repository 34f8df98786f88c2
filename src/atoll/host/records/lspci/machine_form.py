"""What ``lspci -mm`` and ``-vmm`` print, for programs to read, turned into the lines that lspci prints for people.

Source: ``show_machine`` in pciutils ``lspci.c``. One line a function::

    00:1c.0 "PCI bridge [0604]" "Intel Corporation [8086]" "Device [06b8]" -rf0 -p00 "Dell [1028]" "Device [0869]"

or one a field, a blank line after each function (``Device:`` instead of ``Slot:`` with one ``m`` only)::

    Slot:	00:1c.0
    Class:	PCI bridge [0604]
    IOMMUGroup:	8
"""

from __future__ import annotations

import shlex

from atoll.host.records.lspci.slot import parse_slot

__all__ = ["MachineForm"]

_DETAILS = {
    "PhySlot": "\tPhysical Slot: ",
    "NUMANode": "\tNUMA node: ",
    "IOMMUGroup": "\tIOMMU group: ",
    "Driver": "\tKernel driver in use: ",
    "Module": "\tKernel modules: ",
}
_KEPT = frozenset({"Class", "Vendor", "Device", "SVendor", "SDevice", "Rev", "ProgIf"})
_MOST = 64
"""Fields of a function: there are 13, and a line for each module."""


class MachineForm:
    """Takes lines one by one and gives back what stands for them; other lines come back as they are."""

    def __init__(self) -> None:
        self._slot = ""
        self._fields: dict[str, str] = {}
        self._details: list[str] = []
        self._raw: list[str] = []

    def take(self, line: str) -> list[str]:
        """Return the lines that stand for this one: none while a function's fields are not complete."""
        text = line.strip()
        if self._slot:
            if self._field(text) and len(self._raw) < _MOST:
                self._raw.append(line)
                return []
            return [*self.end(), *self.take(line)]
        key, _, value = text.partition(":")
        if key in ("Slot", "Device") and parse_slot(value.strip()) is not None:
            self._slot, self._raw = value.strip(), [line]
            return []
        return [_line(text) or line] if ' "' in text else [line]

    def _field(self, text: str) -> bool:
        """Take a field of the function; return whether it is one."""
        key, found, value = text.partition(":")
        if not found:
            return False
        if key in _KEPT and key not in self._fields:
            self._fields[key] = value.strip()
        elif key in _DETAILS:
            self._details.append(_DETAILS[key] + value.strip())
        elif key != "DTNode":
            return False
        return True

    def end(self) -> list[str]:
        """Return what is there of the function whose fields were taken last."""
        if not self._slot:
            return []
        slot, fields, details, raw = self._slot, self._fields, self._details, self._raw
        self._slot, self._fields, self._details, self._raw = "", {}, [], []
        if "Class" not in fields:
            # Something else has a field of this name.
            return raw
        lines = [_heading(slot, fields)]
        if "SVendor" in fields:
            lines.append(f"\tSubsystem: {_named(fields['SVendor'], fields.get('SDevice', ''))}")
        return [*lines, *details]


def _line(text: str) -> str | None:
    """Return the heading that one line of ``lspci -mm`` stands for, None for another line."""
    word, _, rest = text.partition(" ")
    if parse_slot(word) is None or not rest.lstrip().startswith('"'):
        return None
    try:
        words = shlex.split(rest)
    except ValueError:
        return None
    fields: dict[str, str] = {}
    names = iter(("Class", "Vendor", "Device"))
    for value in words:
        # Revision and interface stand between the device and the subsystem, without quotation marks.
        if value.startswith("-r") and "Device" in fields:
            fields["Rev"] = value[2:]
        elif value.startswith("-p") and "Device" in fields:
            fields["ProgIf"] = value[2:]
        else:
            name = next(names, None)
            if name is None:
                break
            fields[name] = value
    return _heading(word, fields) if "Device" in fields else None


def _heading(slot: str, fields: dict[str, str]) -> str:
    heading = f"{slot} {fields['Class']}: {_named(fields.get('Vendor', ''), fields.get('Device', ''))}"
    if fields.get("Rev"):
        heading += f" (rev {fields['Rev']})"
    return heading + (f" (prog-if {fields['ProgIf']})" if fields.get("ProgIf") else "")


def _named(vendor: str, device: str) -> str:
    """Return vendor and device as one name: ``Intel Corporation Device [8086:06b8]``, ``8086:06b8``."""
    (maker, one), (model, other) = _parts(vendor), _parts(device)
    if one and other:
        return " ".join(word for word in (maker, model) if word) + f" [{one}:{other}]" if maker else f"{one}:{other}"
    return f"{vendor} {device}".strip()


def _parts(text: str) -> tuple[str, str]:
    """Return a name without its number, and the number: ``Intel Corporation [8086]``, ``8086``."""
    if text.endswith("]") and text[-6:-5] == "[" and _is_number(text[-5:-1]):
        return text[:-6].strip(), text[-5:-1]
    return ("", text) if _is_number(text) else (text, "")


def _is_number(text: str) -> bool:
    return len(text) == 4 and all(c in "0123456789abcdefABCDEF" for c in text)
