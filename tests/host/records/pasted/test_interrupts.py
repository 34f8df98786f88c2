"""``/proc/interrupts`` in a text."""

from __future__ import annotations

import pytest

from atoll.host.fact import Unknown, value_of
from host.records.paste import PORT, at, host_of

_CPUS = "            CPU0       CPU1\n"
_TIMER = "   0:         10          0  {}IO-APIC    2-edge      timer\n"
_IOMMU = " 120:          0          0  DMAR-MSI    0-edge      dmar0\n"
_PORT = " 121:          0          0  {}PCI-MSI-0000:00:1c.0    0-edge      PCIe PME\n"
_AMD = "  25:          0          0  PCI-MSI-0000:00:00.2    0-edge      AMD-Vi\n"
_COUNTED = " NMI:          0          0   Non-maskable interrupts\n"
_REMAPPED = _CPUS + _TIMER.format("IR-") + _IOMMU + _PORT.format("IR-") + _COUNTED
_NOT_REMAPPED = _CPUS + _TIMER.format("") + _PORT.format("") + _COUNTED


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (_REMAPPED, True),
        (_REMAPPED + _AMD, True),
        (_NOT_REMAPPED, False),
        (_REMAPPED + _PORT.format(""), None),
        (_REMAPPED.removesuffix(_COUNTED), None),
        (f"{_REMAPPED}$ cat /proc/interrupts # in the guest\n{_NOT_REMAPPED}", None),
        (f"{_NOT_REMAPPED}$ cat /proc/interrupts # on the host\n{_REMAPPED}", None),
        (f"{_REMAPPED}$ cat /proc/softirqs\n{_CPUS}          HI:          2          0\n", True),
        (_CPUS + _PORT.format("IR-"), None),
        (_CPUS + _PORT.format(""), None),
        (_REMAPPED.removeprefix(_CPUS), None),
        (_CPUS + "cat: no such file\n" + _NOT_REMAPPED.removeprefix(_CPUS), None),
    ],
)
def test_remapping(lines: str, expected: bool | None) -> None:
    host = host_of(f"$ cat /proc/interrupts\n{lines}\n{PORT}")
    assert value_of(host.interrupt_remapping, None) is expected
    assert at("00:1c.0") not in host.functions


def test_a_log_of_another_boot() -> None:
    host = host_of(f"[    0.2] DMAR-IR: Enabled IRQ remapping in x2apic mode\n{_NOT_REMAPPED}\n{PORT}")
    assert isinstance(host.interrupt_remapping, Unknown)
    assert "two boots" in host.interrupt_remapping.reason


def test_a_log_does_not_settle_what_listings_contradict() -> None:
    listings = f"{_REMAPPED}$ cat /proc/interrupts # in the guest\n{_NOT_REMAPPED}"
    host = host_of(f"[    0.2] DMAR-IR: Enabled IRQ remapping in x2apic mode\n{listings}\n{PORT}")
    assert isinstance(host.interrupt_remapping, Unknown)
    assert "two listings" in host.interrupt_remapping.reason
