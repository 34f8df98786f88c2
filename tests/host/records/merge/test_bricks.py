"""NPU bricks of two records of one machine."""

from __future__ import annotations

from dataclasses import replace

import pytest

from atoll.host import read_host
from atoll.host.model import Host, NpuBrick
from atoll.host.records.merge.hosts import merge
from atoll.isolation.groups import predict
from atoll.pci.address import Address
from host.handmade import tree_of
from host.links.witherspoon import GPUS, REDBUD, machine

_A = Address.parse(GPUS[0])


def _host(name: str, *first: NpuBrick) -> Host:
    """A machine of two GPUs with six bricks, of which the first is another, or none."""
    host = read_host(tree_of(machine(REDBUD)))
    return replace(host, name=name, npu_bricks=(*first, *host.npu_bricks[1:]))


def _open(host: Host) -> set[Address]:
    """The functions whose groups rest on which brick faces which GPU."""
    return {address for address, why in predict(host).undetermined if "device tree" in why}


_ONE = replace(read_host(tree_of(machine(REDBUD))), name="one")
_BRICK = _ONE.npu_bricks[0]


def test_what_both_tell_is_kept_in_either_order() -> None:
    silent = replace(_ONE, name="none", npu_bricks=())
    for hosts in ([_ONE, _ONE], [_ONE, silent], [silent, _ONE]):
        merged = merge(hosts)
        assert merged.npu_bricks == _ONE.npu_bricks
        assert not _open(merged)


def test_what_one_does_not_name_the_other_does() -> None:
    nameless = _host("two", _BRICK._replace(gpu=None, group_id=None))
    for hosts in ([_ONE, nameless], [nameless, _ONE]):
        assert merge(hosts).npu_bricks == _ONE.npu_bricks


def test_nodes_from_before_pci_was_probed_contradict_nothing() -> None:
    early = tuple(
        NpuBrick(f"{brick.npu}/link@{n}", brick.npu, None, None, 0) for n, brick in enumerate(_ONE.npu_bricks)
    )
    blob = replace(_ONE, name="blob", npu_bricks=early)
    for hosts in ([_ONE, blob], [blob, _ONE]):
        assert merge(hosts).npu_bricks == _ONE.npu_bricks
    assert merge([blob, blob]).npu_bricks == early


@pytest.mark.parametrize(
    "other",
    [
        _host("fewer"),
        _host("other GPU", _BRICK._replace(gpu=Address.parse(GPUS[1]))),
        _host("other NPU", _BRICK._replace(npu="/xscom@623fc00000000/npu@5011000")),
        _host("other function", _BRICK._replace(function=_ONE.npu_bricks[1].function)),
    ],
    ids=lambda host: host.name,
)
def test_a_disagreement_is_kept_and_leaves_the_groups_open(other: Host) -> None:
    for hosts in ([_ONE, other], [other, _ONE], [merge([_ONE, other]), _ONE], [_ONE, merge([other, _ONE])]):
        merged = merge(hosts)
        assert merged.npu_bricks == ()
        assert "NPU bricks" in {gap.what for gap in merged.gaps}
        assert _open(merged) == {_A, Address.parse(GPUS[1]), *(brick.function for brick in _ONE.npu_bricks)}
