"""What nvidia-smi told of links is known still when its driver has let GPUs go, until all was given back."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import pytest
from live_root import Played, played_root

from atoll.act.running import end_runs, running
from atoll.errors import InputError
from atoll.host import read_host
from atoll.host.trees import live
from atoll.host.trees.live import KEPT, LiveTree
from atoll.pci.address import Address
from atoll.twin import Twin

TWIN = Twin.new("dgx1v")
LINKS = read_host(TWIN).links
GPUS = sorted({end.function for link in LINKS for end in (link.a, link.b) if end.function is not None})
NAMES = ("nvidia-smi-L.txt", "nvidia-smi-nvlink-R.txt", "nvidia-smi-query-gpu.csv")


class Smi:
    """An nvidia-smi that knows some GPUs of a DGX-1, numbered among themselves, as the real one numbers them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        program = folder / "nvidia-smi"
        program.write_text(f'#!/bin/sh\nexec cat {folder}/"$1"\n')
        program.chmod(0o755)

    def knows(self, gpus: Sequence[Address]) -> None:
        """From here on it tells of these; where there are none it fails."""
        listed, links, queried = "", "", "index, pci.bus_id, uuid\n"
        for index, gpu in enumerate(gpus):
            name = f"GPU {index}: Tesla V100-SXM2-16GB (UUID: {self._uuid(gpu)})\n"
            listed += name
            links += name + "".join(self._ends(gpu))
            queried += f"{index}, 0000{gpu}, {self._uuid(gpu)}\n"
        for option, text in (("-L", listed), ("nvlink", links), ("--query-gpu=index,pci.bus_id,uuid", queried)):
            path = self.folder / option
            path.write_text(text)
            if not gpus:
                path.unlink()

    def _ends(self, gpu: Address) -> list[str]:
        found = {}
        for link in LINKS:
            for near, far in ((link.a, link.b), (link.b, link.a)):
                if near.function == gpu:
                    found[near.number] = f"\t Link {near.number}: Remote Device 0000{far.function}: Link {far.number}\n"
        return [found[number] for number in sorted(found, key=str)]

    def _uuid(self, gpu: Address) -> str:
        return f"GPU-{GPUS.index(gpu):08x}-0000-0000-0000-000000000000"


@pytest.fixture
def smi(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Smi:
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder), prepend=os.pathsep)
    monkeypatch.setattr(live, "_FILES", str(tmp_path / "none"))
    found = Smi(folder)
    found.knows(GPUS)
    return found


@pytest.fixture
def machine(tmp_path: Path) -> Played:
    root = tmp_path / "root"
    root.mkdir()
    return Played(played_root(root, "dgx1v"))


def boots(machine: Played, boot: str) -> None:
    """The machine has been booted."""
    path = machine.folder / "proc/sys/kernel/random/boot_id"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"{boot}\n")


def told(machine: Played) -> frozenset[Address]:
    """Of which functions all links are known, to who reads the machine anew."""
    return read_host(LiveTree(str(machine.folder))).links_told


def begun(machine: Played) -> None:
    """A holder has begun its work, and stays."""
    read_host(machine)
    with running(machine, "hold", {}, stays=True, begins=True):
        pass


@pytest.mark.parametrize("left", [0, 3])
def test_links_of_gpus_that_were_taken_stay_known(machine: Played, smi: Smi, left: int) -> None:
    boots(machine, "one")
    assert told(machine) == {*GPUS}
    begun(machine)
    smi.knows(GPUS[len(GPUS) - left :])
    assert told(machine) == {*GPUS}
    end_runs(machine)
    assert not (machine.folder / KEPT).exists()
    assert told(machine).isdisjoint(GPUS[: len(GPUS) - left])


def test_what_is_told_since_is_believed_no_less(machine: Played, smi: Smi) -> None:
    """What two of them contradict each other about is unknown."""
    boots(machine, "one")
    begun(machine)
    text = (smi.folder / "nvlink").read_text()
    other = text.replace(f"Link 0: Remote Device 0000{GPUS[1]}", f"Link 0: Remote Device 0000{GPUS[7]}", 1)
    assert other != text
    (smi.folder / "nvlink").write_text(other)
    assert GPUS[0] not in told(machine)


def test_more_that_is_begun_keeps_what_was_told_first(machine: Played, smi: Smi) -> None:
    boots(machine, "one")
    begun(machine)
    smi.knows(GPUS[4:])
    begun(machine)
    smi.knows(())
    assert told(machine) == {*GPUS}


def test_what_was_told_before_the_last_time_is_not_kept(machine: Played, smi: Smi) -> None:
    """GPUs may have been exchanged since."""
    boots(machine, "one")
    read_host(machine)
    smi.knows(())
    begun(machine)
    assert not (machine.folder / KEPT).exists()
    assert not told(machine) & {*GPUS}


def test_what_was_kept_is_of_one_boot(machine: Played, smi: Smi) -> None:
    boots(machine, "one")
    begun(machine)
    smi.knows(())
    boots(machine, "two")
    assert not told(machine) & {*GPUS}


def test_what_others_may_write_is_nobodys_word(machine: Played, smi: Smi) -> None:
    boots(machine, "one")
    begun(machine)
    smi.knows(())
    (machine.folder / KEPT / "one").chmod(0o777)
    assert not told(machine) & {*GPUS}


def test_it_is_refused_where_nothing_can_be_kept(machine: Played, smi: Smi) -> None:
    boots(machine, "one")
    (machine.folder / "run/atoll").mkdir(parents=True)
    (machine.folder / KEPT).write_text("in its place")
    read_host(machine)
    (machine.folder / KEPT).chmod(0o444)
    with pytest.raises(InputError, match=r"atoll/records.*"), running(machine, "apply", {}, begins=True):
        pass


def test_nothing_is_kept_of_what_is_refused(machine: Played, smi: Smi) -> None:
    boots(machine, "one")
    read_host(machine)
    kept: list[str] = []

    def refused() -> None:
        with running(machine, "apply", {}, begins=True):
            kept.extend(sorted(os.listdir(machine.folder / KEPT / "one")))
            raise InputError("refused")

    with pytest.raises(InputError):
        refused()
    assert kept == list(NAMES)
    assert not (machine.folder / KEPT).exists()


def test_what_a_run_left_that_died_before_it_was_noted_is_replaced(machine: Played, smi: Smi) -> None:
    """Nothing is away then: nvidia-smi tells all that there is."""
    boots(machine, "one")
    stale = machine.folder / KEPT / "one" / NAMES[1]
    stale.parent.mkdir(parents=True)
    stale.write_text("GPU 0: Tesla (UUID: GPU-0)\n")
    begun(machine)
    assert stale.read_text() == (smi.folder / "nvlink").read_text()
