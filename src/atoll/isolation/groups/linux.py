"""Groups as ``pci_device_group()`` forms them (drivers/iommu/iommu.c, the same in Linux 6.1, 6.12 and 7.3)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from atoll.host.groups import listed_only
from atoll.host.model import Function, Host
from atoll.isolation.groups.acs_enabled import Judge, unseen_above
from atoll.isolation.groups.discovery import discovery_order
from atoll.isolation.groups.dma_alias import Aliases
from atoll.isolation.groups.override import AcsOverride
from atoll.isolation.groups.prediction import Prediction
from atoll.pci.acs import AcsFlag
from atoll.pci.address import Address

__all__ = ["predict_linux"]


def predict_linux(
    host: Host,
    served: frozenset[Address],
    *,
    acs_control: Mapping[Address, AcsFlag],
    override: AcsOverride,
    kept: Mapping[Address, int] | None = None,
    anew: frozenset[Address] = frozenset(),
    grouped_in: Sequence[Function] | None = None,
) -> Prediction:
    """Return the groups of the ``served`` functions by the rules of PCI hosts other than PowerNV.

    Functions of ``kept`` were found before all others, and are in groups of these numbers. Those of ``anew`` are found
    one by one, each grouped before the next is there (``pci_device_add``), and come last in the kernel's list of
    devices; at boot all are there before the IOMMU is. ``grouped_in``: the order in which functions get their groups,
    where that is not the one in which they are found.
    """
    former = _Former(host, Judge(host, acs_control=acs_control, override=override), kept or {}, anew)
    for function in former.order if grouped_in is None else grouped_in:
        former.awaited.discard(function.address)
        if function.address in served and function.address not in former.group:
            former.add(function)
    members: dict[int, list[Address]] = {}
    for address in sorted(former.group):
        members.setdefault(former.group[address], []).append(address)
    return Prediction(
        groups=tuple(tuple(group) for group in sorted(members.values())),
        undetermined=tuple((address, "; ".join(former.missing[address])) for address in sorted(former.missing)),
        company=former.company(),
        reasons={address: former.reasons[address] for address in sorted(former.reasons)},
        override=bool(override),
    )


class _Former:
    """Forms groups one function at a time, in the order of discovery: the outcome depends on who came before."""

    def __init__(self, host: Host, judge: Judge, kept: Mapping[Address, int], anew: frozenset[Address]) -> None:
        self.order = discovery_order(host)
        # Numbers of recorded groups become negative: those founded here count from 0.
        self.group = {address: -1 - number for address, number in kept.items()}
        self._anew = anew
        self.awaited = set(anew)
        """What the kernel does not know of yet."""
        self._set_up = set(kept)
        """What the IOMMU's driver knows of already (``probe_device``)."""
        self.missing: dict[Address, tuple[str, ...]] = {}
        self.reasons: dict[Address, tuple[str, ...]] = {}
        self._host = host
        self._judge = judge
        self._aliases = Aliases(host)
        self._buses: dict[tuple[int, int], list[Function]] = {}
        self._slots: dict[tuple[int, int, int], list[Function]] = {}
        self._hidden = {address.slot: address for address in listed_only(host)}
        # As for_each_pci_dev() comes by them.
        for function in sorted(self.order, key=lambda function: function.address in anew):
            a = function.address
            self._buses.setdefault((a.domain, a.bus), []).append(function)
            self._slots.setdefault(a.slot, []).append(function)

    def add(self, function: Function) -> None:
        """``pci_device_group``: join a group that exists already, or found one."""
        open_questions: list[str] = []
        reasons: list[str] = []
        self._set_up.add(function.address)
        via = self._find(function, open_questions, reasons)
        address = function.address
        if via is None:
            self.group[address] = len(self.group)
        else:
            self.group[address] = self.group[via]
            self.reasons[address] = tuple(reasons)
            if via in self.missing:
                open_questions.append(f"it joins {via}, of which: {self.missing[via][0]}")
        if open_questions:
            self.missing[address] = tuple(dict.fromkeys(open_questions))

    def company(self) -> dict[Address, str]:
        """Functions that nothing is open about but whether one that is undetermined comes into their group."""
        members: dict[int, list[Address]] = {}
        for address, number in self.group.items():
            members.setdefault(number, []).append(address)
        found: dict[Address, str] = {}
        for address in sorted(self.missing):
            near = (self._host.functions[address], *self._near(self._host.functions[address]))
            for number in {self.group[f.address] for f in near if f.address in self.group}:
                for other in members[number]:
                    if other not in self.missing:
                        found.setdefault(other, f"whether {address} is in its group: {self.missing[address][0]}")
        return dict(sorted(found.items()))

    def _near(self, function: Function) -> Iterator[Function]:
        """Functions whose group an undetermined one may join, whatever is true of what the record lacks."""
        steps = self._aliases.upwards(function)
        tops = [step.function for step in steps]
        if any(step.missing for step in steps):
            tops += self._aliases.lenders
        parent = function.parent
        while parent is not None and (port := self._host.functions.get(parent)) is not None:
            path = self._judge.path(port)
            if path.enabled and path.certain:
                break
            tops.append(port)
            parent = port.parent
        for top in tops:
            a = top.address
            yield top
            if self._aliases.on_bus(a) or self._aliases.unread_on_bus(a):
                yield from self._buses[a.domain, a.bus]
            for mate in self._slots[a.slot]:
                judgement = self._judge.function(mate)
                if not (judgement.enabled and judgement.certain):
                    yield mate

    def _find(self, function: Function, missing: list[str], reasons: list[str]) -> Address | None:
        """Return a grouped function whose group this one joins; None where it founds one."""
        top = function
        for step in self._aliases.upwards(function):
            missing += step.missing
            top = step.function
            if top is not function:
                reasons.append(f"alias: {step.why} (pci_for_each_dma_alias)")
                if top.address in self.group:
                    return top.address
        parent = top.parent
        while parent is not None and (port := self._host.functions.get(parent)) is not None:
            path = self._judge.path(port)
            missing += path.missing
            if path.enabled:
                break
            top = port
            reasons[:] = [r for r in reasons if not r.startswith("path: ")]
            reasons.append(f"path: up to {port.address}, not isolated above: {', '.join(path.why)} (pci_device_group)")
            if port.address in self.group:
                return port.address
            parent = port.parent
        if self._host.is_loose(top):
            missing.append(unseen_above(top))
        visited: set[int] = set()
        missing += self._aliases.unread_on_bus(top.address)
        via = self._alias_group(top, visited, reasons, missing)
        if via is not None:
            return via
        return self._function_alias_group(top, visited, missing, reasons)

    def _multifunction(self, top: Function) -> bool | None:
        own = self._judge.own
        found_now = top.address in self._anew and top.address not in self.group
        return own.multifunction_when_found(top) if found_now else own.multifunction(top)

    def _order_counts(self, found: Address, others: list[Function], missing: list[str]) -> None:
        """Of what was not found again, the record does not tell which was found first: note where this counts."""
        if not self._anew or found in self._anew:
            return
        for other in others:
            a = other.address
            if a in self.group and a not in self._anew and self.group[a] != self.group[found]:
                missing.append(f"whether the kernel found {found} or {a} first")

    def _alias_group(self, top: Function, visited: set[int], reasons: list[str], missing: list[str]) -> Address | None:
        """``get_pci_alias_group``: functions of the bus that use this one's id, or whose id it uses."""
        if top.address.devfn in visited:
            return None
        visited.add(top.address.devfn)
        if top.address in self.group:
            return top.address
        if not self._aliases.on_bus(top.address):
            return None
        bus = self._buses[top.address.domain, top.address.bus]
        related = [
            f for f in bus if f is not top and self._aliases.related(top.address, f.address, set_up=self._set_up)
        ]
        related = [f for f in related if f.address not in self.awaited]
        for other in related:
            via = self._alias_group(other, visited, reasons, missing)
            if via is None:
                via = self._function_alias_group(other, visited, missing, [])
            if via is not None:
                self._order_counts(via, related, missing)
                missing += self._aliases.doubts(top.address, other.address)
                whose = self._aliases.whose(top.address, other.address)
                reasons.append(f"alias: {top.address} and {other.address} use one requester id ({whose})")
                return via
        return None

    def _function_alias_group(
        self, top: Function, visited: set[int], missing: list[str], reasons: list[str]
    ) -> Address | None:
        """``get_pci_function_alias_group``: other functions of the slot that do not isolate either."""
        a = top.address
        slot = self._slots[a.slot]
        hidden = self._hidden.get(a.slot)
        if (len(slot) < 2 and hidden is None) or self._multifunction(top) is False:
            return None
        own = self._judge.function(top)
        if own.enabled and own.certain:
            return None
        if hidden is not None:
            missing.append(f"{hidden}, of the same device, was not read")
        for other in slot:
            if other is top or other.address in self.awaited:
                continue
            judgement = self._judge.function(other)
            if judgement.enabled and judgement.certain:
                continue
            missing += own.missing + judgement.missing
            if own.enabled or judgement.enabled:
                continue
            via = self._alias_group(other, visited, reasons, missing)
            if via is not None:
                mates = [f for f in slot if f is not top and not self._judge.function(f).enabled]
                self._order_counts(via, mates, missing)
                reasons.append(
                    "slot: neither function isolates from the other: "
                    f"{', '.join((*own.why, *judgement.why))} (get_pci_function_alias_group)"
                )
                return via
        return None
