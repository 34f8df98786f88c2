"""Which functions count as Intel's volume management devices where no record names one."""

from __future__ import annotations

from dataclasses import replace

import pytest
from reach_hosts import endpoint

from atoll.fabric.vmd import vmds_of
from atoll.host.model import UNTOLD_CLASS, Function

DRIVE = endpoint("10000:e1:00.0", class_code=0x010802)
NAMED = endpoint("00:0e.0", ids=(0x8086, 0x9A0B), class_code=0x010400)
HIDDEN = replace(endpoint("00:0e.0", ids=(0xFFFF, 0xFFFF), class_code=UNTOLD_CLASS), possible_ids=((None, None),))


@pytest.mark.parametrize(
    ("function", "counts"),
    [
        (NAMED, True),
        (replace(NAMED, device=0xFFF0), True),
        (replace(NAMED, device=0xFFF0, class_code=UNTOLD_CLASS), True),
        (HIDDEN, True),
        # One of another class, and one of another maker, is none.
        (replace(NAMED, device=0xFFF0, class_code=0x020000), False),
        (replace(NAMED, vendor=0x1000, class_code=UNTOLD_CLASS), False),
    ],
)
def test_where_there_are_segments_all_that_may_be_one_count(function: Function, counts: bool) -> None:
    functions = {one.address: one for one in (function, DRIVE)}
    assert vmds_of(functions) == ((function,) if counts else ())


def test_without_segments_only_what_is_told_counts() -> None:
    assert vmds_of({NAMED.address: NAMED}) == (NAMED,)
    assert vmds_of({HIDDEN.address: HIDDEN}) == ()
