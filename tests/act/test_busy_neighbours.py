"""A neighbour of clusters that is the host's own was given to somebody by hand: nobody takes it from him."""

from __future__ import annotations

from act_bench import BLUE, RED, SPEC, apply, state, to_vfio
from release_bench import give_back

from atoll.act import device
from atoll.act.journal import read_journal
from atoll.twin import Twin

SPEC_OF_RED = SPEC.split("[cluster.blue]")[0]


def test_what_somebody_has_open_stays_with_its_links_cut_at_both_ends() -> None:
    twin = Twin.new("ac922-4gpu")
    to_vfio(twin, BLUE)
    initial = state(twin)
    apply(twin, SPEC_OF_RED)
    cut = twin.peek(RED, "bar0", 0xA00148)
    twin.event("vm-start", [BLUE])
    left = give_back(twin, SPEC_OF_RED).left
    assert any(told.startswith(f"{BLUE} is open in process") for told in left)
    assert device.driver(twin, BLUE) == "vfio-pci"
    assert device.driver(twin, RED) == "nouveau"
    assert twin.peek(RED, "bar0", 0xA00148) == cut
    assert BLUE in twin.kernel.open_devices
    twin.event("vm-stop", [BLUE])
    assert give_back(twin, SPEC_OF_RED).left == ()
    assert state(twin) == initial
    assert read_journal(twin).entries == ()
