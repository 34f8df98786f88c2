"""Cuts through a device's registers: what it reads back decides, whatever was written."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from act_bench import RED, host_of

from atoll.act.failure import Failure
from atoll.act.steps.registers import cut
from atoll.controls.nvlink_mask import VOLTA
from atoll.pci.address import Address
from atoll.twin import Twin, v100


@dataclass
class Lease:
    """A V100's registers, whose mask ``loses`` some bits."""

    loses: int = 0
    address: Address = RED
    registers: dict[int, int] = field(default_factory=dict)
    reset_on_open: bool = False
    reset_on_close: bool = False

    def read32(self, bar: int, offset: int) -> int:
        return v100.read(self.registers, offset)

    def write32(self, bar: int, offset: int, value: int) -> None:
        v100.write(self.registers, offset, value)
        if offset == v100.DISABLE:
            self.registers[offset] &= ~self.loses

    def reset(self) -> None:
        self.registers.clear()

    def close(self) -> None:
        pass


def test_what_was_cut_stays_so() -> None:
    host, lease = host_of(Twin.new("ac922-4gpu")), Lease()
    assert cut(lease, host, VOLTA, [0]) == {0}
    assert cut(lease, host, VOLTA, [1]) == {0, 1}


def test_a_link_that_opens_while_another_is_cut_is_told() -> None:
    host, lease = host_of(Twin.new("ac922-4gpu")), Lease()
    assert cut(lease, host, VOLTA, [0]) == {0}
    lease.loses = 1 << 16
    with pytest.raises(Failure, match=r"links \[0\] of 0004:04:00.0 opened while others were cut"):
        cut(lease, host, VOLTA, [1])


def test_a_mask_that_does_not_take_is_told() -> None:
    with pytest.raises(Failure, match="reads back"):
        cut(Lease(loses=1 << 17), host_of(Twin.new("ac922-4gpu")), VOLTA, [0, 1])
