"""What the isolation of an atom takes, in words."""

from __future__ import annotations

from reach_hosts import CLOSED, acs, endpoint, machine, port, scene, switch

from atoll.fabric.answer import Policy
from atoll.isolation.atoms import atoms
from atoll.report.atoms import atoms_lines
from atoll.report.names import Names
from atoll.report.style import PLAIN


def test_ports_whose_ids_members_can_send_are_named_apart() -> None:
    functions = [*switch(acs("RR CR UF", "RR CR UF"), CLOSED), port("00:02.0", 0x10), endpoint("10:00.0", "00:02.0")]
    found = scene(machine(*functions, kind="identity"))
    made = atoms(found.topology, found.settings, Policy.STRICT)
    lines = atoms_lines(found.host, made, trusted=2, names=Names(), style=PLAIN, verbose=False)
    text = " ".join(" ".join(lines).split())
    assert "needs IOMMU translation for 0000:03:00.0 0000:04:00.0 (now identity; VFIO gives it)" in text
    ports = "0000:01:00.0 0000:02:00.0 0000:02:01.0"
    assert f"needs IOMMU translation for {ports} (now identity), whose ids it can send: type DMA of its group" in text
