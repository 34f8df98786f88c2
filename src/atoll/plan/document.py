"""Plans as JSON documents, ``"schema": "atoll.plan/1"``. What is read back is not trusted.

A step has ``id``, ``kind``, ``device``, ``because``, ``precondition``, ``check``, ``undo``, and of the other fields
those that its kind uses. Addresses are as in sysfs, masks hexadecimal strings, ACS words as lspci prints them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from atoll.errors import InputError
from atoll.pci.acs import AcsFlag
from atoll.pci.address import Address
from atoll.plan.step import Bandwidth, Plan, Step, StepKind, Unachievable

__all__ = ["SCHEMA", "from_document", "step_from_document", "step_to_document", "to_document"]

SCHEMA = "atoll.plan/1"

T = TypeVar("T")

_HINT = "make the plan anew: atoll plan SPEC -o FILE"
_WORDS = ("cluster", "driver", "override", "method", "holder", "control")
"""Optional fields of a step that are texts."""
_NEEDED: dict[StepKind, tuple[str, ...]] = {
    StepKind.SET_ACS: ("acs",),
    StepKind.RESCAN: ("group",),
    StepKind.BIND: ("driver",),
    StepKind.RESET: ("method",),
    StepKind.LEASE: ("holder",),
    StepKind.CUT_LINKS: ("control", "links", "mask"),
    StepKind.VERIFY: ("control", "links"),
}
"""What a kind of step means nothing without."""


def to_document(plan: Plan) -> dict[str, Any]:
    """Return a plan's document."""
    return {
        "schema": SCHEMA,
        "host": plan.host,
        "steps": [step_to_document(step) for step in plan.steps],
        "clusters": [
            {
                "name": cluster.cluster,
                "functions": [str(address) for address in cluster.functions],
                "kept_bytes_per_second": cluster.kept_bytes_per_second,
                "cut_bytes_per_second": cluster.cut_bytes_per_second,
            }
            for cluster in plan.clusters
        ],
        "unachievable": [_unachievable(entry) for entry in plan.unachievable],
        "impossible": [_unachievable(entry) for entry in plan.impossible],
        "fingerprints": {str(address): text for address, text in plan.fingerprints},
        "spec": plan.spec,
    }


def step_to_document(step: Step) -> dict[str, Any]:
    """Return a step's document."""
    found: dict[str, Any] = {
        "id": step.id,
        "kind": step.kind.value,
        "device": str(step.device),
        "because": step.because,
        "precondition": step.precondition,
        "check": step.check,
        "undo": step.undo,
    }
    for name in _WORDS:
        value = getattr(step, name)
        if value is not None:
            found[name] = value
    if step.acs_before is not None:
        found["acs_before"] = step.acs_before.lspci
    if step.acs is not None:
        found["acs"] = step.acs.lspci
    if step.links or step.kind is StepKind.CUT_LINKS:
        found["links"] = list(step.links)
    if step.mask is not None:
        found["mask"] = f"{step.mask:#x}"
    if step.group:
        found["group"] = [str(address) for address in step.group]
    return found


def _unachievable(entry: Unachievable) -> dict[str, Any]:
    return {
        "clusters": list(entry.clusters),
        "reason": entry.reason,
        "remedy": entry.remedy,
        "devices": [str(address) for address in entry.devices],
        "unknown": entry.unknown,
    }


# -- back


def from_document(data: object) -> Plan:
    """Return the plan of a document. Raises InputError, with the place and what was expected there."""
    plan = _Place(data, "plan")
    if plan.table().get("schema") != SCHEMA:
        raise InputError(f'plan: schema is {plan.table().get("schema")!r:.60}, expected "{SCHEMA}"', hint=_HINT)
    plan.only("schema", "host", "steps", "clusters", "unachievable", "impossible", "fingerprints", "spec")
    steps = tuple(step_from_document(entry.value, entry.name) for entry in plan.at("steps").items())
    seen: set[str] = set()
    for index, step in enumerate(steps):
        if step.id in seen:
            raise InputError(f"plan.steps[{index}].id: {step.id!r} is used twice", hint=_HINT)
        seen.add(step.id)
    return Plan(
        host=plan.at("host").text(),
        spec=plan.at("spec").text(),
        steps=steps,
        clusters=tuple(_bandwidth(entry) for entry in plan.at("clusters").items()),
        unachievable=tuple(_entry(entry) for entry in plan.at("unachievable").items()),
        impossible=tuple(_entry(entry) for entry in plan.at("impossible").items()),
        fingerprints=_fingerprints(plan.at("fingerprints")),
    )


def step_from_document(data: object, name: str) -> Step:
    """Return the step of a document; ``name`` is what to call it in errors. Raises InputError."""
    step = _Place(data, name)
    step.only(
        *("id", "kind", "device", "because", "precondition", "check", "undo"),
        *(*_WORDS, "acs_before", "acs", "links", "mask", "group"),
    )
    kind = step.at("kind").one_of(StepKind)
    for needed in _NEEDED.get(kind, ()):
        if needed not in step.table():
            raise InputError(f"{name}: {kind} without {needed}", hint=_HINT)
    return Step(
        id=step.at("id").word(),
        kind=kind,
        device=step.at("device").address(),
        because=step.at("because").text(),
        precondition=step.at("precondition").text(),
        check=step.at("check").text(),
        undo=step.at("undo").text(),
        **{word: step.optional(word, _Place.word) for word in _WORDS},
        acs_before=step.optional("acs_before", _Place.acs),
        acs=step.optional("acs", _Place.acs),
        links=step.optional("links", _Place.links) or (),
        mask=step.optional("mask", _Place.mask),
        group=step.optional("group", _Place.addresses) or (),
    )


def _bandwidth(entry: _Place) -> Bandwidth:
    entry.only("name", "functions", "kept_bytes_per_second", "cut_bytes_per_second")
    return Bandwidth(
        entry.at("name").word(),
        entry.at("functions").addresses(),
        entry.at("kept_bytes_per_second").number(),
        entry.at("cut_bytes_per_second").number(),
    )


def _entry(entry: _Place) -> Unachievable:
    entry.only("clusters", "reason", "remedy", "devices", "unknown")
    clusters = tuple(item.word() for item in entry.at("clusters").items())
    unknown = entry.table().get("unknown", False)
    if not isinstance(unknown, bool):
        raise entry.at("unknown").wrong("true or false")
    return Unachievable(
        clusters, entry.at("reason").text(), entry.at("remedy").text(), entry.at("devices").addresses(), unknown
    )


def _fingerprints(place: _Place) -> tuple[tuple[Address, str], ...]:
    table = place.table()
    return tuple(sorted((_Place(key, place.name).address(), place.at(key).text()) for key in table))


class _Place:
    """A value in an untrusted document, and where it stands."""

    __slots__ = ("name", "value")

    def __init__(self, value: object, name: str) -> None:
        self.value = value
        self.name = name

    def wrong(self, expected: str) -> InputError:
        return InputError(f"{self.name}: found {self.value!r:.60}, expected {expected}", hint=_HINT)

    def table(self) -> Mapping[str, Any]:
        if not isinstance(self.value, dict):
            raise self.wrong("an object")
        return self.value

    def only(self, *names: str) -> None:
        for key in self.table():
            if key not in names:
                raise InputError(f"{self.name}: unknown field {key!r:.60}", hint=_HINT)

    def at(self, key: str) -> _Place:
        table = self.table()
        if key not in table:
            raise InputError(f"{self.name}: {key} is missing", hint=_HINT)
        return _Place(table[key], f"{self.name}.{key}")

    def optional(self, key: str, read: Callable[[_Place], T]) -> T | None:
        return None if self.table().get(key) is None else read(self.at(key))

    def items(self) -> tuple[_Place, ...]:
        if not isinstance(self.value, list):
            raise self.wrong("an array")
        return tuple(_Place(item, f"{self.name}[{index}]") for index, item in enumerate(self.value))

    def text(self) -> str:
        if not isinstance(self.value, str):
            raise self.wrong("a string")
        return self.value

    def word(self) -> str:
        """A name that may become part of a path: nothing but letters, digits and a few signs."""
        text = self.text()
        if not text.isascii() or not text or set(text) <= {"."} or len(text) > 80:
            raise self.wrong("a name")
        if not all(character.isalnum() or character in "-_.:~" for character in text):
            raise self.wrong("a name")
        return text

    def number(self) -> int:
        if isinstance(self.value, bool) or not isinstance(self.value, int) or self.value < 0:
            raise self.wrong("a number, 0 or more")
        return self.value

    def one_of(self, kinds: type[StepKind]) -> StepKind:
        try:
            return kinds(self.text())
        except ValueError:
            raise self.wrong("one of " + ", ".join(kinds)) from None

    def address(self) -> Address:
        try:
            return Address.parse(self.text())
        except ValueError:
            raise self.wrong("a PCI address, DDDD:BB:DD.F") from None

    def addresses(self) -> tuple[Address, ...]:
        return tuple(item.address() for item in self.items())

    def links(self) -> tuple[int, ...]:
        found = tuple(item.number() for item in self.items())
        if list(found) != sorted(set(found)) or (found and found[-1] > 255):
            raise self.wrong("link numbers in order")
        return found

    def mask(self) -> int:
        text = self.text()
        try:
            if text.startswith("0x") and len(text) <= 18:
                return int(text, 16)
        except ValueError:
            pass
        raise self.wrong("a hexadecimal number with 0x")

    def acs(self) -> AcsFlag:
        """Read ``SrcValid+ TransBlk- …``: all seven flags, in lspci's order."""
        flags = AcsFlag(0)
        words = self.text().split()
        known = AcsFlag(0).lspci.split()
        if [word[:-1] for word in words] != [word[:-1] for word in known]:
            raise self.wrong("all ACS flags as lspci prints them")
        for word, flag in zip(words, AcsFlag, strict=True):
            if word[-1] not in "+-":
                raise self.wrong("all ACS flags as lspci prints them")
            flags |= flag if word[-1] == "+" else AcsFlag(0)
        return flags
