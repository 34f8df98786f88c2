"""What boot logs tell of IOMMUs."""

from __future__ import annotations

import pytest

from atoll.host.fact import value_of
from host.records.paste import PORT, host_of


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ("DMAR-IR: Enabled IRQ remapping in x2apic mode", True),
        ("Enabled IRQ remapping in x2apic mode", True),
        ("Enabled IRQ remapping in xapic mode", True),
        ("AMD-Vi: Interrupt remapping enabled", True),
        ("AMD-Vi: [Firmware Bug]: : No southbridge IOAPIC found\nAMD-Vi: Disabling interrupt remapping", False),
        ("DMAR-IR: Failed to enable irq remapping. You are vulnerable to irq-injection attacks.", False),
        ("Failed to enable irq remapping.  You are vulnerable to irq-injection attacks.", False),
        ("Not enabling interrupt remapping due to skipped IO-APIC setup", False),
        ("x2apic: IRQ remapping doesn't support X2APIC mode", None),
        ("DMAR-IR: IRQ remapping was enabled on dmar0 but we are not in kdump mode", None),
        ("you want interrupt remapping enabled in the firmware", None),
    ],
)
def test_interrupt_remapping(lines: str, expected: bool | None) -> None:
    log = "".join(f"[    0.2] {line}\n" for line in lines.splitlines())
    assert value_of(host_of(log + PORT).interrupt_remapping, None) is expected


def test_the_command_line_of_xen_is_not_the_kernels() -> None:
    log = "(XEN) Command line: iommu=pt intremap=off\n[    0.0] Kernel command line: root=/dev/sda1 ro\n"
    assert value_of(host_of(log + PORT).command_line, None) == "root=/dev/sda1 ro"
