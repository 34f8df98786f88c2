"""Drivers are taken off and given as planned: what another has meanwhile is not touched."""

from __future__ import annotations

import pytest
from act_bench import RED, planned, state

from atoll.act import device
from atoll.act.drivers import bind
from atoll.act.executor import execute
from atoll.act.failure import Failure
from atoll.act.recover import recover
from atoll.errors import RefusedError
from atoll.twin import Twin

HERE = f"sys/bus/pci/devices/{RED}"
DRIVERS = "sys/bus/pci/drivers"


def test_another_driver_than_planned_keeps_its_device() -> None:
    twin = Twin.new("ac922-4gpu")
    host, made = planned(twin)
    twin.write(f"{DRIVERS}/nouveau/unbind", str(RED).encode())
    twin.write(f"{HERE}/driver_override", b"vfio-pci\n")
    twin.write(f"{DRIVERS}/vfio-pci/bind", str(RED).encode())
    before = state(twin)
    told = f"unbind {RED}.*: {RED} is bound to vfio-pci, not to nouveau as planned. Nothing was done"
    with pytest.raises(RefusedError, match=told):
        execute(twin, host, made)
    assert state(twin) == before
    assert not recover(twin).runs


def test_no_driver_pushes_another_away() -> None:
    twin = Twin.new("ac922-4gpu")
    bind(twin, RED, "nouveau")
    with pytest.raises(Failure, match="is bound to nouveau, not free for vfio-pci"):
        bind(twin, RED, "vfio-pci")
    assert device.driver(twin, RED) == "nouveau"


def test_a_driver_that_is_not_loaded_is_named() -> None:
    twin = Twin.new("ac922-4gpu")
    twin.write(f"{DRIVERS}/nouveau/unbind", str(RED).encode())
    with pytest.raises(Failure, match="the driver nvidia is not loaded") as caught:
        bind(twin, RED, "nvidia")
    assert caught.value.hint == "modprobe nvidia"
    assert device.driver(twin, RED) is None
