"""Ports stay as a step has closed them, also where the kernel writes them anew in a later one."""

from __future__ import annotations

import pytest
from act_bench import RED, Watched, planned, state

from atoll.act.executor import execute
from atoll.errors import StepError
from atoll.pci.acs import AcsFlag
from atoll.pci.address import Address
from atoll.twin import Twin

PORT = Address.parse("0004:02:0a.0")


class Reopening(Watched):
    """A kernel that opens a port when a driver is bound to a device below it."""

    def write(self, path: str, data: bytes, *, offset: int = 0) -> None:
        super().write(path, data, offset=offset)
        if path.endswith("vfio-pci/bind") and data == str(RED).encode():
            self.twin.kernel.hardware.functions[PORT].set_acs(AcsFlag(0))


def test_a_port_that_the_kernel_opens_again_ends_the_plan_at_once() -> None:
    twin = Twin.new("ac922-4gpu")
    before = state(twin)
    host, made = planned(twin)
    assert PORT in {step.device for step in made.steps if step.acs is not None}
    with pytest.raises(StepError, match=f"bind {RED}.* failed: ACS of {PORT} was written anew by the kernel"):
        execute(Reopening(twin), host, made)
    assert state(twin) == before
    # On a kernel that leaves it alone the plan goes through.
    execute(Watched(twin), host, made)
