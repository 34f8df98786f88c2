"""Inside the guest: the host whose verbs are killed, by the lab's own eyes, and what must be so of it."""

import json
import os
from pathlib import Path
from typing import Any

from killing import DEVICES, Bar

from lab.gpu.driver import gpus

DRIVER = Path("/sys/bus/pci/drivers/pci-pf-stub")
"""Stands for the host's own driver of GPUs: it leaves them as they are."""
MASK = 0xA00148
LINKS = 6
JOURNAL = Path("/var/lib/atoll/journal.sqlite")

GPUS = RED, BLUE = [folder.name for folder in gpus()]


class Broken(Exception):
    """Something is not as it must be."""


def must(holds: object, what: str, detail: object = "") -> None:
    """Raise Broken where something does not hold."""
    if not holds:
        raise Broken(f"{what}: {detail}")


def link(path: Path) -> str | None:
    """Return the name that a link leads to; None where there is none."""
    return os.path.basename(os.readlink(path)) if path.is_symlink() else None


def text(path: Path) -> str:
    """Return what a file holds, without blanks around it."""
    return path.read_text().strip()


def state() -> dict[str, Any]:
    """All that atoll may change, by the lab's own eyes."""
    found: dict[str, Any] = {"autoprobe": text(Path("/sys/bus/pci/drivers_autoprobe"))}
    for address in GPUS:
        folder = DEVICES / address
        port = folder.resolve().parent
        with Bar(address) as words:
            cut = words[MASK // 4] >> 16
        members = sorted(os.listdir(folder / "iommu_group" / "devices"))
        command = int.from_bytes((folder / "config").read_bytes()[4:6], "little") & 6
        found[address] = [link(folder / "driver"), text(folder / "driver_override"), members, command, cut]
        found[f"{address} host's"] = [text(folder / "reset_method"), text(folder / "power/control")]
        found[f"{address} port"] = (port / "config").read_bytes()[0x148:0x150].hex()
    return found


def journal() -> bytes:
    """Return the journal's bytes; none where there is no journal."""
    return JOURNAL.read_bytes() if JOURNAL.exists() else b""


def prepare() -> None:
    """As a host is found: its driver has every GPU, memory decoding is on, bus mastering off."""
    (DRIVER / "new_id").write_text("10de 1db1")
    for address in GPUS:
        config = os.open(DEVICES / address / "config", os.O_RDWR)
        os.pwrite(config, b"\x02\x01", 4)
        os.close(config)
    ends = [
        {
            "index": index,
            "bus_id": address,
            "uuid": f"GPU-{index}",
            "c2c": None,
            "fabric": None,
            "links": [
                {"link": number, "up": True, "remote": GPUS[1 - index], "remote_link": number}
                for number in range(LINKS)
            ],
        }
        for index, address in enumerate(GPUS)
    ]
    Path("/etc/atoll/records").mkdir(parents=True)
    Path("/etc/atoll/records/links.json").write_text(json.dumps({"schema": "atoll.nvml/1", "gpus": ends}))


def spec(handover: str, *clusters: str) -> str:
    """The cluster file of red, of blue, or of both."""
    driver = DRIVER.name if handover == "kernel" else "vfio-pci"
    addresses = {"red": RED, "blue": BLUE}
    tables = [
        f'[cluster.{name}]\ndevices = ["{addresses[name]}"]\nhandover = "{handover}"\ndriver = "{driver}"\n'
        for name in clusters
    ]
    return "".join(tables)
