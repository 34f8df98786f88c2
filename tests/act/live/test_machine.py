"""The running machine, played by a folder: what it can do, where it writes, what it maps."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest
from live_root import DEVICE, Played, played_root

from atoll.act.live import LiveMachine
from atoll.act.live.capabilities import capabilities_of
from atoll.act.live.resource import ResourceLease
from atoll.errors import RefusedError

CONFIG = f"sys/bus/pci/devices/{DEVICE}/config"
COMMAND = 4


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return played_root(tmp_path)


def lacking(root: Path, *, hold: bool = False) -> dict[str, tuple[str, str]]:
    return capabilities_of(f"{root}/", hold=hold).lacking


def test_all_is_there(root: Path) -> None:
    assert lacking(root, hold=True) == {}
    assert list(lacking(root)) == ["hold"]
    assert "atoll hold SPEC" in lacking(root)["hold"][1]


def test_lockdown(root: Path) -> None:
    security = root / "sys/kernel/security"
    security.mkdir(parents=True, exist_ok=True)
    (security / "lockdown").write_text("[none] integrity confidentiality\n")
    assert lacking(root, hold=True) == {}
    (security / "lockdown").write_text("none [integrity] confidentiality\n")
    found = lacking(root, hold=True)
    assert found.keys() == {"config", "resource0"}
    assert "locked down (integrity)" in found["config"][0]


def test_no_vfio(root: Path) -> None:
    (root / "dev/vfio/vfio").unlink()
    assert lacking(root, hold=True).keys() == {"vfio", "hold"}
    (root / "dev/iommu").touch()
    assert lacking(root, hold=True) == {}
    driver = root / "sys/bus/pci/drivers/vfio-pci"
    for file in driver.iterdir():
        file.unlink()
    driver.rmdir()
    assert lacking(root, hold=True)["vfio"] == ("the driver vfio-pci is not loaded", "modprobe vfio-pci")


def test_without_pci_there_is_nothing(tmp_path: Path) -> None:
    found = capabilities_of(f"{tmp_path}/", hold=True)
    assert found.can == frozenset()
    assert "there is no /sys/bus/pci/drivers_probe" in found.lacking["attributes"][0]


def test_it_writes_to_sysfs_and_to_its_own_files_only(root: Path) -> None:
    machine = LiveMachine(root=str(root))
    (root / "etc").mkdir()
    (root / "etc/passwd").write_bytes(b"root")
    for path in ("etc/passwd", "proc/sys/kernel/panic", "sys/../etc/passwd", "var/lib/atoll/../../../etc/passwd"):
        with pytest.raises(OSError, match=r"atoll writes to|names no folder above"):
            machine.write(path, b"x")
    assert (root / "etc/passwd").read_bytes() == b"root"
    machine.write("var/lib/atoll/note", b"ours")
    assert machine.read("var/lib/atoll/note") == b"ours"
    assert machine.state_path("var/lib/atoll/note") == root / "var/lib/atoll/note"


def test_an_attribute_has_no_middle(root: Path) -> None:
    with pytest.raises(OSError, match="as a whole"):
        LiveMachine(root=str(root)).write(f"sys/bus/pci/devices/{DEVICE}/driver_override", b"x", offset=2)


def test_a_bar_is_loaded_and_stored_to(root: Path) -> None:
    machine = Played(root)
    machine.give(DEVICE, None)
    word = int.from_bytes(machine.read(CONFIG, offset=COMMAND, size=2), "little")
    machine.write(CONFIG, (word | 2).to_bytes(2, "little"), offset=COMMAND)
    bar = machine.device(DEVICE) / "resource0"
    bar.write_bytes(bytes(range(256)) * 1024)
    lease = machine.lease_resource(DEVICE)
    assert lease.read32(0, 0x10004) == 0x07060504
    lease.write32(0, 0x20000, 0xDEADBEEF)
    assert (lease.reset_on_open, lease.reset_on_close) == (False, False)
    for offset in (2, -4, 256 * 1024):
        with pytest.raises(OSError, match="no aligned 32 bits"):
            lease.read32(0, offset)
    with pytest.raises(FileNotFoundError):
        lease.read32(3, 0)
    with pytest.raises(OSError, match="no reset"):
        lease.reset()
    lease.close()
    lease.close()
    with pytest.raises(OSError, match="is closed"):
        lease.read32(0, 0)
    assert bar.read_bytes()[0x20000:0x20004] == b"\xef\xbe\xad\xde"


def test_a_bar_is_not_mapped_where_nothing_would_answer_or_a_driver_has_it(root: Path) -> None:
    machine = Played(root)
    (machine.device(DEVICE) / "resource0").write_bytes(bytes(4096))
    machine.give(DEVICE, "nvme")
    with pytest.raises(OSError, match="the driver nvme has claimed it") as caught:
        machine.lease_resource(DEVICE)
    assert caught.value.errno == errno.EINVAL
    machine.give(DEVICE, "vfio-pci")
    machine.write(CONFIG, b"\0\0", offset=COMMAND)
    with pytest.raises(OSError, match="memory decoding is off"):
        machine.lease_resource(DEVICE)
    machine.write(CONFIG, b"\2\0", offset=COMMAND)
    machine.lease_resource(DEVICE).close()


def test_an_empty_bar_is_an_error_and_leaves_nothing_open(root: Path) -> None:
    machine = Played(root)
    (machine.device(DEVICE) / "resource0").write_bytes(b"")
    before = len(list(Path("/proc/self/fd").iterdir()))
    with pytest.raises(OSError, match="no aligned 32 bits"):
        ResourceLease(DEVICE, str(machine.device(DEVICE)))
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_a_process_that_ends_opens_nothing(root: Path) -> None:
    with pytest.raises(PermissionError, match="this process ends"):
        LiveMachine(root=str(root)).lease_vfio(DEVICE, holder="atoll-hold:red")


def test_what_cannot_be_done_is_refused_with_the_reason(root: Path) -> None:
    from atoll.act.capability import require

    with pytest.raises(RefusedError, match="a device stays open only as long as") as caught:
        require(LiveMachine(root=str(root)), ("attributes", "hold"))
    assert caught.value.exit_code == 4
