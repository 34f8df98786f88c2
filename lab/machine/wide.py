"""Random machines of everything that decides about groups: devices of which QEMU has no model, functions of one slot
of any kinds, bridges behind bridges, conventional functions right below ports, virtual functions in their slot.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from atoll.pci.address import Address
from atoll.pci.header import PortType
from atoll.twin.sizes import KIBIBYTE
from atoll.twin.spec import Bar, FunctionSpec
from lab.machine.device import DEVICES
from lab.machine.foreign import ALIASING, CONVENTIONAL, EXPRESS, Foreign, told_by_table
from lab.machine.grower import ENOUGH, INTERRUPTS, Grower

__all__ = ["WideGrower"]

_CONVENTIONAL = ("edu", "e1000")
_CONVENTIONAL_BRIDGES = ("pci-bridge", "i82801b11-bridge")
_MOST_BRIDGES = 2
"""How many conventional bridges stand below one another."""
_MOST_VFS = 7
"""Of an nvme: they stand right behind it, in its slot."""


@dataclass(slots=True)
class WideGrower(Grower):
    """Grows what `Grower` does, and more."""

    amd: bool = False
    """Whether firmware tells of an AMD IOMMU (IVRS)."""

    def slot(self, bus: int, slot: int, *, ports_only: bool) -> None:
        if ports_only or self.chance(0.4):
            # Named, since a class with slots is another one than the one that it was made of.
            Grower.slot(self, bus, slot, ports_only=ports_only)
        elif len(self.functions) < ENOUGH:
            at = Address(0, bus, slot, 0)
            pick = self.random.random()
            if pick < 0.55:
                for function in range(self.random.randint(2, 5)):
                    self._built_in(at._replace(function=function), shared=True)
            elif pick < 0.65:
                self._with_virtual_functions(at, on_root=True)
            elif pick < 0.8:
                self._built_in(at, shared=False)
            else:
                self.conventional_bridge(self.random.choice(_CONVENTIONAL_BRIDGES), at)

    def _built_in(self, at: Address, *, shared: bool) -> None:
        """A function on a root bus: a port, an integrated endpoint, or a conventional function."""
        pick = self.random.random()
        if pick < 0.25:
            self.port(self.root_kind(), at, shared=shared)
        elif pick < 0.45:
            self.endpoint(self.random.choice(("e1000e", "nvme", "qemu-xhci")), at, shared=shared, on_root=True)
        elif pick < 0.55:
            self.endpoint(self.random.choice(_CONVENTIONAL), at, shared=shared, on_root=True)
        elif pick < 0.7:
            self._served(self.random.choice(CONVENTIONAL), at, PortType.CONVENTIONAL, shared=shared, on_root=True)
        else:
            aliasing = [kind for kind in ALIASING if not any(a >> 3 == INTERRUPTS for a in kind.aliases(at.devfn))]
            kinds = aliasing if self.chance(0.25) else EXPRESS
            self._served(self.random.choice(kinds), at, PortType.ROOT_INTEGRATED, shared=shared, on_root=True)

    def behind(self, bus: int, depth: int) -> None:
        at = Address(0, bus, 0, 0)
        if self.chance(0.08):
            return
        if self.chance(0.45) or len(self.functions) >= ENOUGH:
            Grower.behind(self, bus, depth)
            return
        pick = self.random.random()
        if pick < 0.4:
            for function in range(self.random.randint(2, 6)):
                self._card(at._replace(function=function))
        elif pick < 0.5:
            self._served(self.random.choice(EXPRESS), at, self._kind())
        elif pick < 0.6:
            for function in range(self.random.randint(1, 3)):
                self._conventional(at._replace(function=function), shared=True)
        elif pick < 0.72:
            self.conventional_bridge(self.random.choice(_CONVENTIONAL_BRIDGES), at)
        else:
            self._with_virtual_functions(at)

    def _with_virtual_functions(self, at: Address, *, on_root: bool = False) -> None:
        """An nvme; its virtual functions stand behind it in its slot."""
        self.endpoint("nvme", at, on_root=on_root)
        spec = self.functions[-1]
        total = self.random.randint(1, _MOST_VFS)
        self.functions[-1] = replace(spec, vf_total=total, vf_device=spec.device, vf_bar=16 * KIBIBYTE)

    def _card(self, at: Address) -> None:
        """A function of a card with several.

        An igb is never the first: it has ARI and names no next function, so that where ARI is on no other is found.
        Nor is it a later one than the third: virtual functions of two would stand at the same places.
        """
        pick = self.random.random()
        if pick < 0.1 and at.function in (1, 2):
            self.endpoint("igb", at, shared=True)
        elif pick < 0.25:
            self.endpoint(self.random.choice(("e1000e", "nvme")), at, shared=True)
        elif pick < 0.4:
            self._served(self.random.choice(ALIASING), at, self._kind(), shared=True)
        else:
            self._served(self.random.choice(EXPRESS), at, self._kind(), shared=True)

    def _kind(self) -> PortType:
        return PortType.LEGACY_ENDPOINT if self.chance(0.1) else PortType.ENDPOINT

    def conventional_bridge(self, driver: str, at: Address, depth: int = 1) -> None:
        place = self.bridge(driver, at, shared=False)
        bus = self.bus
        for slot in sorted(self.random.sample(range(1, 8), self.random.randint(1, 3))):
            inner = Address(0, bus, slot, 0)
            if depth < _MOST_BRIDGES and self.chance(0.3) and len(self.functions) < ENOUGH:
                self.conventional_bridge(self.random.choice(_CONVENTIONAL_BRIDGES), inner, depth + 1)
                continue
            count = self.random.randint(2, 3) if self.chance(0.3) else 1
            for function in range(count):
                self._conventional(inner._replace(function=function), shared=count > 1)
        self.close(place)

    def _conventional(self, at: Address, *, shared: bool) -> None:
        if self.chance(0.6):
            self.endpoint(self.random.choice(_CONVENTIONAL), at, shared=shared)
        else:
            self._served(self.random.choice(CONVENTIONAL), at, PortType.CONVENTIONAL, shared=shared)

    def endpoint(self, driver: str, at: Address, *, shared: bool = False, on_root: bool = False) -> None:
        Grower.endpoint(self, driver, at, shared=shared, on_root=on_root)
        port = self.functions[-1].port
        table = told_by_table(DEVICES[driver].ids, port, shared=shared, on_root=on_root, amd=self.amd)
        self.functions[-1] = replace(self.functions[-1], acs_quirk=table)

    def _served(
        self, kind: Foreign, at: Address, port: PortType, *, shared: bool = False, on_root: bool = False
    ) -> None:
        """Add a function that is not QEMU's."""
        self.functions.append(
            FunctionSpec(
                at,
                *kind.ids,
                kind.class_code,
                port=port,
                bars=(Bar(0, 64 * KIBIBYTE),),
                multifunction=shared,
                acs=kind.acs,
                acs_quirk=told_by_table(kind.ids, port, shared=shared, on_root=on_root, amd=self.amd),
                egress_bits=kind.egress_bits,
                dma_aliases=kind.aliases(at.devfn),
                flr=port is not PortType.CONVENTIONAL,
                iommu="dmar0",
                subsystem=kind.subsystem,
            )
        )
