"""From a tree to a host, where the tree shows nothing."""

from __future__ import annotations

from atoll.host import read_host
from atoll.host.fact import Unknown
from atoll.host.model import Platform
from host.handmade import tree_of


def test_an_empty_tree_is_a_host_that_shows_nothing() -> None:
    host = read_host(tree_of({"manifest.json": "{}"}))
    assert not host.functions
    assert isinstance(host.groups, Unknown)
    assert host.platform is Platform.UNKNOWN
    assert {"PCI functions", "functions that the host itself needs"} <= {gap.what for gap in host.gaps}
