"""What people print beside a listing, and command lines that a mailer wrapped."""

from __future__ import annotations

import pytest

from atoll.host.fact import Known, Unknown, value_of
from atoll.host.model import Platform
from host.records.paste import at, host_of

_LIST = "IOMMU Group 1:\n\t00:01.0 PCI bridge [0604]: Intel Device [8086:1901]\n"
_LINE = "BOOT_IMAGE=/boot/vmlinuz-6.11.0 root=UUID=f563804b-1b93-4921-90e1-4114c8111e8f ro pcie_ports=native"
_UNAME = "Linux host 6.11.0-9-generic #9-Ubuntu SMP PREEMPT_DYNAMIC Mon Oct 14 13:19:59 UTC 2024 x86_64 GNU/Linux"


def test_release_and_command_line_beside_a_list() -> None:
    host = host_of(f"$ uname -a\n{_UNAME}\n$ cat /proc/cmdline\n{_LINE}\n$ ./groups.sh\n{_LIST}")
    assert value_of(host.command_line, "") == _LINE
    assert isinstance(host.kernel, Known)
    assert (host.kernel.value.major, host.kernel.value.minor) == (6, 11)
    assert value_of(host.functions[at("00:01.0")].group, None) == 1


@pytest.mark.parametrize(
    ("machine", "platform", "beside"),
    [
        ("x86_64 x86_64 x86_64", Platform.X86, Platform.X86),
        ("aarch64", Platform.ARM, Platform.UNKNOWN),
        ("s390x", Platform.OTHER, Platform.UNKNOWN),
        ("ppc64le", Platform.OTHER, Platform.UNKNOWN),
    ],
)
def test_the_machine_of_a_list_that_shows_no_host_bridge(machine: str, platform: Platform, beside: Platform) -> None:
    """``beside``: with a host bridge of Intel's, which no Arm machine has."""
    assert host_of(f"$ uname -a\n{_UNAME.replace('x86_64', machine)}\n{_LIST}").platform is platform
    bridge = "IOMMU Group 0:\n\t00:00.0 Host bridge [0600]: Intel Device [8086:591f]\n"
    assert host_of(f"$ uname -a\n{_UNAME.replace('x86_64', machine)}\n{bridge}{_LIST}").platform is beside
    assert (
        host_of(_UNAME.replace("host", "x86_64").replace("x86_64 GNU", "GNU") + "\n" + _LIST).platform
        is Platform.UNKNOWN
    )


@pytest.mark.parametrize(
    ("image", "release"),
    [
        ("/boot/vmlinuz-6.8.0-45-generic", "6.8.0-45-generic"),
        ("(hd0,gpt2)/@/vmlinuz-6.14.11-4-pve", "6.14.11-4-pve"),
        ("/boot/vmlinuz-linux-zen", ""),
        ("/bzimage", ""),
    ],
)
def test_the_release_in_the_name_of_what_was_booted(image: str, release: str) -> None:
    """GRUB names the kernel's file."""
    line = f"Command line: BOOT_IMAGE={image} root=/dev/sda2 ro\n"
    kernel = host_of(line + _LIST).kernel
    assert (kernel.value.text if isinstance(kernel, Known) else "") == release
    told = host_of(f"Linux version 5.15.0-1-x (a@b)\n{line}{_LIST}").kernel
    assert isinstance(told, Known)
    assert told.value.text == "5.15.0-1-x"


def test_other_boot_loaders_and_short_releases() -> None:
    host = host_of(
        "# uname -r\n5.4.0-42-amd\n\n# cat /proc/cmdline\ninitrd=\\\\arch.img root=/dev/sda2 rw iommu=pt\n\n" + _LIST
    )
    assert "iommu=pt" in value_of(host.command_line, "")
    assert isinstance(host.kernel, Known)
    assert host.kernel.value.text == "5.4.0-42-amd"


@pytest.mark.parametrize(
    ("report", "release"),
    [
        (f"Uname: Linux 5.4.0-42-generic x86_64\nProcKernelCmdLine: {_LINE}\n", "5.4.0-42-generic"),
        (f"cmdline:        {_LINE}\nkernel:         5.8.15-301.fc33.x86_64\n", "5.8.15-301.fc33.x86_64"),
        (f"$ cat /proc/cmdline\n{_LINE}\nKernel: Linux 4.19.0-9-amd64 (SMP w/8 CPU cores)\n", "4.19.0-9-amd64"),
        (f"{_LINE}\n  Kernel: 6.6.10-arch1-1 arch: x86_64 bits: 64 compiler: gcc\n", "6.6.10-arch1-1"),
        (f"{_LINE}\nKernel: x86_64 Linux 5.4.2-arch1-1\n", "5.4.2-arch1-1"),
    ],
)
def test_what_reports_tell_after_a_key(report: str, release: str) -> None:
    host = host_of(report + "\n" + _LIST)
    assert value_of(host.command_line, "") == _LINE
    assert isinstance(host.kernel, Known)
    assert host.kernel.value.text == release


@pytest.mark.parametrize("line", ["Kernel: 6.1.12 hangs, 5.15.2 does not", "Kernel: 5.4", "kernel: pci 1.2-3 x"])
def test_a_kernel_that_a_sentence_names_is_none(line: str) -> None:
    assert isinstance(host_of(f"{line}\n{_LIST}").kernel, Unknown)


@pytest.mark.parametrize("quote", ["", "> ", "> > "])
@pytest.mark.parametrize("key", ["", "[    0.000000] Command line: "])
def test_what_a_mailer_put_on_the_next_line_belongs_to_it(quote: str, key: str) -> None:
    lines = [*f"{key}{_LINE}\nintel_iommu=on\npcie_acs_override=downstream\n".splitlines(), "", *_LIST.splitlines()]
    host = host_of("\n".join(quote + line for line in lines) + "\n")
    # The second is short: no mailer would have wrapped there.
    assert value_of(host.command_line, "") == f"{_LINE} intel_iommu=on"
    lines[1] = "intel_iommu=on vfio-pci.ids=10de:1b80,10de:10f0 default_hugepagesz=1G"
    host = host_of("\n".join(quote + line for line in lines) + "\n")
    assert "pcie_acs_override=downstream" in value_of(host.command_line, "")
    assert value_of(host.functions[at("00:01.0")].group, None) == 1


@pytest.mark.parametrize(
    "line",
    [
        "pci 0000:00:01.0: Adding to iommu group 1",
        "IOMMU Group 1 00:01.0 PCI bridge [0604]: Intel Device [8086:1901]",
        "/sys/kernel/iommu_groups/1/devices/0000:00:01.0",
        "1 0000:00:01.0",
        "kern  :info  : [    0.4] pci 0000:00:01.0: Adding to iommu group 1",
        "Nov 02 13:05:11 host kernel: pci 0000:00:01.0: Adding to iommu group 1",
    ],
)
@pytest.mark.parametrize("key", ["", "Kernel command line: "])
def test_what_tells_of_groups_is_no_rest_of_a_command_line(key: str, line: str) -> None:
    host = host_of(f"{key}{_LINE}\n{line}\n")
    assert isinstance(host.groups, Known)
    assert list(host.groups.value) == [1]
    assert value_of(host.command_line, "") == _LINE


def test_two_boots_in_one_text() -> None:
    host = host_of(
        f"Kernel command line: {_LINE} pcie_acs_override=downstream\n$ cat /proc/cmdline\n{_LINE}\n\n{_LIST}"
    )
    assert isinstance(host.command_line, Unknown)
    assert "disagree" in host.command_line.reason
    log = "[    0.000000] Linux version 6.1.0-20-amd64 (debian) #1 SMP\n"
    assert isinstance(host_of(f"{log}{_UNAME}\n{_LIST}").kernel, Unknown)


def test_the_version_printed_after_a_log_is_no_other_boot() -> None:
    version = "Linux version 6.12.1 (x@y) #1 SMP\n"
    log = (
        f"[    0.0] {version}[    0.0] Command line: {_LINE}\n[    0.4] pci 0000:01:00.0: Adding to iommu group {{}}\n"
    )
    card = "01:00.0 VGA compatible controller [0300]: NVIDIA Corporation TU116 [10de:21c4] (rev a1)\n"
    host = host_of(f"{log.format(7)}$ cat /proc/version\n{version}{card}")
    assert value_of(host.functions[at("01:00.0")].group, None) == 7
    assert value_of(host.command_line, "") == _LINE
    bare = log.replace("[    0.0] ", "").replace("[    0.4] ", "")
    for again in (bare, "".join(bare.splitlines(keepends=True)[::2])):
        other = log.format(7).replace("01:00", "02:00") + again.format(9)
        assert value_of(host_of(f"{other}{card}").groups, {}).keys() == {9}


def test_what_is_set_for_the_next_boot_is_not_in_force() -> None:
    host = host_of(f'GRUB_CMDLINE_LINUX_DEFAULT="quiet intel_iommu=on pcie_acs_override=downstream"\n\n{_LIST}')
    assert isinstance(host.command_line, Unknown)


@pytest.mark.parametrize(
    "lines",
    [
        "/sys/kernel/iommu_groups/1/type:DMA-FQ",
        "$ cd /sys/kernel/iommu_groups; grep . */type\n1/type:DMA-FQ\n2/type:identity",
        "==> /sys/kernel/iommu_groups/1/type <==\nDMA-FQ",
        "me@host:~$ cat /sys/kernel/iommu_groups/1/type\nDMA-FQ",
    ],
)
@pytest.mark.parametrize("first", [True, False])
def test_types_of_groups(lines: str, *, first: bool) -> None:
    host = host_of(f"{lines}\n\n{_LIST}" if first else f"{_LIST}\n{lines}\n")
    assert isinstance(host.groups, Known)
    assert {number: value_of(group.type, None) for number, group in host.groups.value.items()} == {1: "DMA-FQ"}
    assert list(host.functions) == [at("00:01.0")]


@pytest.mark.parametrize(
    "lines",
    [
        "$ cat /sys/kernel/iommu_groups/1/type\nbash: no such file\nDMA",
        "$ cat /sys/kernel/iommu_groups/1/type /sys/kernel/iommu_groups/2/type\nDMA\nidentity",
        "$ cat /sys/kernel/iommu_groups/3/type\nDMA",
        "/sys/kernel/iommu_groups/1/type:something",
    ],
)
def test_what_tells_no_type_of_a_group(lines: str) -> None:
    host = host_of(f"{_LIST}\n{lines}\n")
    assert isinstance(host.groups, Known)
    assert isinstance(host.groups.value[1].type, Unknown)


def test_the_release_in_a_bug_report_of_nvidia() -> None:
    host = host_of(f"uname: {_UNAME}\ncommand line flags:\n\n{_LIST}")
    assert isinstance(host.kernel, Known)
    assert (host.kernel.value.major, host.kernel.value.minor) == (6, 11)
