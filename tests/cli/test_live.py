"""Verbs on the running machine, played by a folder: from before it is read, nobody else changes it."""

from __future__ import annotations

import functools
from pathlib import Path

import pytest
from live_root import DEVICE, Played, played_root
from running import Run

from atoll.act.lock import LOCK, machine_lock
from atoll.act.recover import Fate, recover
from atoll.act.running import running
from atoll.cli import session
from atoll.errors import RefusedError
from atoll.host import read_host
from atoll.host.holders import FIRST_NAMESPACE
from atoll.host.model import Host
from atoll.host.tree import Tree


class Live(Played):
    """Made as the program makes it."""

    def __init__(self, folder: Path, **options: object) -> None:
        super().__init__(folder)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "root").mkdir()
    made = played_root(tmp_path / "root")
    monkeypatch.setattr("atoll.act.live.LiveMachine", functools.partial(Live, made))
    return made


@pytest.fixture
def spec(tmp_path: Path) -> Path:
    path = tmp_path / "spec.toml"
    path.write_text(f'[cluster.red]\ndevices = ["{DEVICE}"]\nhandover = "vfio"\n')
    return path


def test_nobody_else_changes_it_from_before_it_is_read(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []

    def read(tree: Tree, extent: object = None) -> Host:
        with pytest.raises(RefusedError, match="another atoll is changing") as caught, machine_lock(Played(folder)):
            pass
        told.append(caught.value.message)
        return read_host(tree)

    monkeypatch.setattr(session, "_read", read)
    with session.changing(["live"]) as found:
        assert found.machine is not None
        # Who has it takes it again.
        with running(found.machine, "apply", {}):
            pass
        found.reread()
        with pytest.raises(RefusedError, match="another atoll is changing"), running(Played(folder), "apply", {}):
            pass
    assert len(told) == 2
    with machine_lock(Played(folder)):
        pass


def test_who_only_looks_has_no_lock(folder: Path) -> None:
    with session.changing(["live"], dry_run=True), machine_lock(Played(folder)):
        pass
    with session.changing(["live"], hold=True), machine_lock(Played(folder)):
        pass


@pytest.mark.parametrize("verb", ["apply", "release", "hold"])
def test_a_dry_run_leaves_nothing_behind(run: Run, folder: Path, spec: Path, verb: str) -> None:
    before = sorted(folder.rglob("*"))
    if verb == "hold":
        spec.write_text(spec.read_text().replace('"vfio"', '"held"'))
    ran = run(verb, spec, "--dry-run")
    assert ran.code in (0, 4), ran.err
    assert sorted(folder.rglob("*")) == before


def test_applied_and_released(run: Run, folder: Path, spec: Path) -> None:
    machine = Played(folder)
    driver = machine.driver(DEVICE)
    ran = run("apply", spec)
    assert machine.driver(DEVICE) == "vfio-pci", ran.err
    assert (folder / LOCK).read_bytes().strip() == b""
    assert "bind" in run("release", spec).out
    assert machine.driver(DEVICE) == driver
    assert (folder / LOCK).read_bytes().strip() == b""
    # Process 1 shows that the journal is the host's own.
    (folder / "proc/1/ns").mkdir(parents=True, exist_ok=True)
    (folder / "proc/1/ns/pid").symlink_to(FIRST_NAMESPACE)
    (folder / "proc/1/root").symlink_to(folder)
    assert run("recover").out == "Nothing to recover on live\n"
    assert [found.fate for found in recover(machine).runs if found.fate is Fate.LEFT] == []
