"""Random machines: ``random-SEED`` is a machine of its own for each seed, the same every time.

Everything that decides about PCI Express isolation occurs, in combinations that nobody builds on purpose: root
ports and nested switches with all, some or none of the ACS controls (egress control and ACS Enhanced among them),
devices with several functions, virtual functions, conventional PCI behind bridges and PCI Express behind those,
endpoints in the root complex, devices that use other requester ids beside their own, ATS, linked GPUs, several host
bridges and segments with every kind of routing, segments behind Volume Management Devices, Intel's and AMD's IOMMUs,
and kernels without any; in more than half of them also all that can be decoded, rightly and wrongly. They are for
trying laws on, not for looking like a product: identifiers are those of devices without quirks, but where the quirk is
told. ``MachineKind`` lists what some have beside that.
"""

from __future__ import annotations

from atoll.twin.machines.random.kind import PREFIX, MachineKind
from atoll.twin.machines.random.machine import KERNELS, machine

__all__ = ["KERNELS", "PREFIX", "MachineKind", "machine"]
