"""A capture of a host that is half readable says no more than the host did."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from random import Random

import pytest
from shaken import some_twin
from test_unreadable_files import broken, not_better, seen

from atoll.host.capture.make import capture
from atoll.host.trees.archive import read_archive
from atoll.host.trees.pack import pack
from fuzz.targets.trees import copied, whole


@pytest.mark.parametrize("seed", [*range(16), 187, 252])
def test_the_archive_answers_as_the_host_did(seed: int, tmp_path: Path) -> None:
    rng = Random(seed)
    twin = some_twin(rng)
    tree = copied(twin, "host")
    half = broken(rng, tree, tuple(whole(tree)), rng.choice((0.01, 0.05, 0.2)))
    hardware = twin.kernel.hardware.functions
    endpoints = sorted(address for address in twin.kernel.devices if not hardware[address].spec.is_bridge)
    one, other = rng.sample(endpoints, 2)
    before = seen(half, (one, other))
    packed = BytesIO()
    pack(capture(half, before.host).tree.root, packed)
    (tmp_path / "host.tar.xz").write_bytes(packed.getvalue())
    after = seen(read_archive(tmp_path / "host.tar.xz", name="host"), (one, other))
    not_better(before, after, one, other)
    assert after.host.functions.keys() == before.host.functions.keys()
    if {one, other} <= before.host.functions.keys():
        assert after.answer(one, other) == before.answer(one, other)
        assert after.told["forum"] == before.told["forum"]
    if "prove" in before.told:
        assert after.told["prove"]["verdict"] == before.told["prove"]["verdict"]
