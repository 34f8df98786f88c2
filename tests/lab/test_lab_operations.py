"""What is compared between twin and kernel: operations on a twin, what is visible of it, and differences."""

from __future__ import annotations

from pathlib import Path

import pytest

from atoll.act.machine import Lease
from atoll.twin.twin import Twin
from lab.kernels import Kernel
from lab.report import Setting
from lab.scenarios.operations import Operation, differences, perform, visible
from lab.scenarios.twin import draw, run

CARD = "0000:03:00.0"


@pytest.fixture
def twin() -> Twin:
    return Twin.new("pcie-box")


def test_an_operation_s_error_comes_by_its_name(twin: Twin) -> None:
    leases: dict[str, Lease] = {}
    asked: list[tuple[Operation, str]] = [
        (("write", "sys/bus/pci/drivers/vfio-pci/unbind", CARD), "ENODEV"),
        (("write", "sys/bus/pci/devices/0000:ff:00.0/remove", "1"), "ENOENT"),
        (("open", CARD, ""), "ENODEV"),
        (("write", f"sys/bus/pci/devices/{CARD}/driver_override", "vfio-pci"), "ok"),
    ]
    assert [perform(twin, leases, operation) for operation, _ in asked] == [result for _, result in asked]


def test_what_an_operation_changes_is_visible(twin: Twin) -> None:
    before = visible(twin, [CARD])
    assert differences(before, visible(twin, [CARD])) == []
    perform(twin, {}, ("write", f"sys/bus/pci/devices/{CARD}/driver_override", "vfio-pci"))
    assert differences(before, visible(twin, [CARD])) == [f"{CARD} override: '(null)', 'vfio-pci'"]
    perform(twin, {}, ("write", f"sys/bus/pci/devices/{CARD}/remove", "1"))
    gone = visible(twin, [CARD])
    assert CARD not in gone
    assert any(line.startswith(f"{CARD}: ") for line in differences(before, gone))


def test_drawn_operations_go_through_and_never_wait_for_what_is_open() -> None:
    for seed in range(3):
        _, drawing = draw(seed, "6.12")
        assert len(drawing.expected) == len(drawing.operations) + 1
        results = {str(step["result"]) for step in drawing.expected}
        assert "ok" in results
        assert results <= {"ok", "ENOENT", "ENODEV", "EBUSY", "EINVAL", "EPERM", "EIO", "ENOTTY", "EAGAIN"}
    first, second = draw(1, "6.12")[1], draw(1, "6.12")[1]
    assert first.operations == second.operations


def test_a_kernel_with_vfio_built_in_is_told_to_be_none_for_this(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def built_in(name: str) -> Kernel:
        return Kernel(name, tmp_path, None, "6.12", powernv=False)

    monkeypatch.setattr("lab.scenarios.twin.fetched", built_in)
    (found,) = run(Setting(("iommufd",), tmp_path)).checks
    assert (found.ok, found.detail) == (False, "iommufd has vfio-pci built in")
    assert not list(tmp_path.iterdir()), "nothing was booted"
