"""The kernel of the 2019 patch: what it cuts by itself after a bus reset."""

from __future__ import annotations

import pytest
from reach_hosts import at, scene

from atoll.controls.kernel_mask import kernel_cuts
from atoll.twin import Twin


def cuts(name: str, kernel: str, *, links: bool = True) -> dict[str, str]:
    topology = scene(Twin.new(name, kernel=kernel, links=links)).topology
    gpus = [a for a, f in topology.functions.items() if f.device == 0x1DB1]
    return {str(a): "".join(map(str, sorted(kernel_cuts(topology, a)))) for a in gpus}


def test_all_peers_of_each_gpu() -> None:
    four = cuts("ac922-4gpu", "5.4-isolate")
    assert set(four.values()) == {"024"}
    six = cuts("ac922-6gpu", "5.4-isolate")
    assert list(six.values()) == ["0234", "0234", "0124"] * 2


@pytest.mark.parametrize("kernel", ["5.4", "6.12"])
def test_other_kernels_cut_nothing(kernel: str) -> None:
    assert set(cuts("ac922-6gpu", kernel).values()) == {""}


def test_nothing_without_links_that_the_device_tree_tells() -> None:
    assert set(cuts("ac922-4gpu", "5.4-isolate", links=False).values()) == {""}


def test_what_the_twin_of_that_kernel_really_cuts() -> None:
    """The twin computes its mask from the patch, apart from this code."""
    twin = Twin.new("ac922-6gpu", kernel="5.4-isolate")
    before = scene(twin)
    for gpu in (at("0004:04:00.0"), at("0035:05:00.0")):
        twin.reset(gpu, "bus")
        assert scene(twin).settings.cut[gpu] == kernel_cuts(before.topology, gpu)
