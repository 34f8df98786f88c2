"""recover: what it says and returns, and that nothing else works before it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from act_bench import BLUE, RED, SPEC, Visited, host_of, planned
from deaths import Death, dead_run, deaths
from running import Run

from atoll.act.executor import execute
from atoll.act.given import Given
from atoll.act.in_use import prove_those_in_use
from atoll.act.machine import Machine
from atoll.act.steps.ports import set_control
from atoll.fabric.answer import Policy
from atoll.isolation.proof import Verdict
from atoll.pci.acs import AcsFlag
from atoll.pci.address import Address
from atoll.pci.header import Command
from atoll.plan.selector import gpus
from atoll.twin import Twin


def apply(machine: Machine) -> None:
    host, made = planned(machine)
    execute(machine, host, made)


@pytest.fixture(scope="module")
def death() -> Death:
    """An apply that died when both GPUs were open, and one of them cut."""
    found = deaths(Twin.new("ac922-4gpu"), {}, apply)
    return next(death for death in found if death.what == f"after {BLUE} open" or "BAR0" in death.what)


@pytest.fixture
def dead(death: Death, tmp_path: Path) -> Path:
    path = tmp_path / "dead.twin"
    death.twin.save(path)
    return path


@pytest.fixture
def spec(tmp_path: Path) -> Path:
    path = tmp_path / "spec.toml"
    path.write_text(SPEC)
    return path


def test_nothing_to_recover_is_said(run: Run, ac922: Path) -> None:
    before = ac922.read_bytes()
    ran = run("recover", "--host", ac922)
    assert (ran.code, ran.err) == (0, "")
    assert ran.out == "Nothing to recover on twin:ac922-4gpu\n"
    assert run("recover", "--host", ac922, "--json").json["runs"] == []
    assert ac922.read_bytes() == before


@pytest.mark.parametrize("verb", ["apply", "release"])
def test_all_else_is_refused_before(run: Run, dead: Path, spec: Path, verb: str) -> None:
    before = dead.read_bytes()
    for more in ((), ("--dry-run",)):
        ran = run(verb, spec, "--host", dead, *more)
        assert (ran.code, ran.out) == (4, "")
        first, hint = ran.err.splitlines()
        assert "an earlier run died on twin:ac922-4gpu: apply (process " in first
        assert hint == "  run atoll recover"
    assert dead.read_bytes() == before


def test_it_is_rolled_back_once(run: Run, dead: Path, spec: Path) -> None:
    ran = run("recover", "--host", dead)
    assert ran.code == 0
    assert "apply of " in ran.out
    assert ": rolled back\n" in ran.out
    assert "undone: unbind nouveau, override vfio-pci\n" in ran.out
    assert "undone: bind vfio-pci\n" in ran.out
    assert "No tenant has a device of these clusters open." in ran.out
    assert run("recover", "--host", dead).out.startswith("Nothing to recover")
    assert run("apply", spec, "--host", dead).code == 0
    assert run("release", spec, "--host", dead).code == 0


def test_a_dry_run_changes_nothing(run: Run, dead: Path) -> None:
    before = Twin.load(dead).own_files
    ran = run("recover", "--dry-run", "--host", dead)
    assert ran.code == 0
    assert "would be rolled back" in ran.out
    assert "Nothing was changed." in ran.out
    assert Twin.load(dead).own_files == before


def test_the_document(run: Run, dead: Path) -> None:
    found = run("recover", "--host", dead, "--json").json
    assert found["schema"] == "atoll.recover/1"
    (one,) = found["runs"]
    assert (one["verb"], one["fate"], one["left"]) == ("apply", "rolled-back", [])
    assert str(RED) in {deed["device"] for deed in one["done"]}
    assert found["verdict"] is None


def test_after_a_restart_there_is_nothing_to_undo(run: Run, dead: Path, spec: Path) -> None:
    assert run("twin", "event", dead, "reboot").code == 0
    assert run("apply", spec, "--host", dead).code == 4
    found = run("recover", "--host", dead, "--json")
    assert found.code == 0
    assert [one["fate"] for one in found.json["runs"]] == ["restarted"]
    assert [one["done"] for one in found.json["runs"]] == [[]]
    assert "nothing to release" in run("release", spec, "--host", dead).out
    assert run("apply", spec, "--host", dead).code == 0


THREE = """
[cluster.blue]
devices = ["gpu[0]"]
handover = "held"

[cluster.red]
devices = ["gpu[1]", "gpu[2]"]
handover = "held"
"""


@pytest.mark.parametrize("pulled", [0, 2])
@pytest.mark.parametrize("numbered", [True, False])
def test_owners_who_run_are_told_apart_by_what_they_were_given_when_a_device_is_gone(
    run: Run, tmp_path: Path, numbered: bool, pulled: int
) -> None:
    """The number of a GPU names another one once an earlier one is pulled."""
    twin = Twin.new("ac922-4gpu")
    three = gpus(host_of(twin))[:3]
    text = THREE
    for number, address in enumerate(three):
        text = text if numbered else text.replace(f"gpu[{number}]", str(address))
    host, made = planned(twin, text)
    execute(twin, host, made)
    dead_run(twin)
    twin.vfio.close(three[pulled])
    twin.write(f"sys/bus/pci/devices/{three[pulled]}/remove", b"1")
    for address in three:
        if address != three[pulled]:
            twin.reset(address, "bus")
    path = tmp_path / "pulled.twin"
    twin.save(path)
    ran = run("recover", "--host", path, "--json")
    assert [entry["fate"] for entry in ran.json["runs"]] == ["rolled-back"]
    # 0 and 1 were two owners', 1 and 2 one's.
    assert (ran.json["verdict"], ran.code) == (("proven", 0) if pulled == 0 else ("violated", 1))
    assert len(ran.json["violations"]) == (0 if pulled == 0 else 2)


def _given(*texts: str) -> tuple[Twin, tuple[Given, ...]]:
    """A machine on which files were applied one after the other, and their clusters as the plans had them."""
    twin = Twin.new("ac922-4gpu")
    files = []
    for text in texts:
        host, made = planned(twin, text)
        execute(twin, host, made)
        files.append(Given(text, {one.cluster: one.functions for one in made.clusters}))
    return twin, tuple(files)


ALICE = '[cluster.alice]\ndevices = [{}]\nhandover = "held"\n'
LONE = '[cluster.bob]\ndevices = ["gpu[2]"]\nhandover = "held"\n'


def test_a_file_that_was_extended_and_applied_again_is_proven_as_it_is_now() -> None:
    twin, files = _given(ALICE.format('"gpu[0]"') + LONE, ALICE.format('"gpu[0]", "gpu[1]"'))
    proof, idle = prove_those_in_use(twin, host_of(twin), files, Policy.STRICT)
    assert proof is not None
    assert (proof.verdict, proof.violations, idle) == (Verdict.PROVEN, (), ())


def test_clusters_of_one_name_and_different_devices_are_not_taken_for_one_owner() -> None:
    """Nobody has said that what the two files name is to reach each other."""
    twin, files = _given(ALICE.format('"gpu[0]"'), ALICE.format('"gpu[1]"').replace("alice", "dan"))
    for address in (RED, BLUE):
        twin.reset(address, "bus")
    same = tuple(replace(one, clusters={"alice": tuple(*one.clusters.values())}) for one in files)
    texts = tuple(replace(one, spec=one.spec.replace("dan", "alice")) for one in same)
    proof, _ = prove_those_in_use(twin, host_of(twin), texts, Policy.STRICT)
    assert proof is not None
    assert proof.verdict is Verdict.VIOLATED


def test_what_was_given_to_another_since_is_not_taken_for_the_first_ones() -> None:
    both = ALICE.format('"gpu[0]"') + LONE.replace("gpu[2]", "gpu[1]")
    moved = ALICE.format('"gpu[0]", "gpu[1]"')
    twin, files = _given(moved)
    before = Given(both, {"alice": (RED,), "bob": (BLUE,)})
    for numbered in (True, False):
        text = both if numbered else both.replace("gpu[0]", str(RED)).replace("gpu[1]", str(BLUE))
        given = (replace(before, spec=text), *files)
        proof, idle = prove_those_in_use(twin, host_of(twin), given, Policy.STRICT)
        assert proof is not None
        assert (proof.violations, proof.unknown, idle) == ((), (), ())


class Handed(Visited):
    """Somebody was handed an open device: which one shows only by what is enabled."""

    def read(self, path: str, *, offset: int = 0, size: int | None = None) -> bytes:
        return b"1\n" if path.endswith("/enable") else super().read(path, offset=offset, size=size)


@pytest.mark.parametrize("spec", [SPEC, "no cluster file"])
def test_an_owner_who_was_handed_a_device_counts_as_running(spec: str) -> None:
    twin = Twin.new("ac922-4gpu")
    host, made = planned(twin, SPEC.replace("held", "vfio"))
    execute(twin, host, replace(made, impossible=()))
    files = (Given(spec, {}),)
    assert prove_those_in_use(twin, host_of(twin), files, Policy.STRICT)[0] is None
    for address in (RED, BLUE):
        twin.kernel.hardware.functions[address].set_command(on=Command.MASTER)
    handed = Handed(twin, "anon_inode:[vfio-device]")
    found, _ = prove_those_in_use(handed, host_of(handed), files, Policy.STRICT)
    assert found is not None
    assert found.verdict is Verdict.UNKNOWN


BOX_RED, FAR = "0000:03:00.0", "0000:0f:00.0"
DRIVEN = f"""
[cluster.blue]
devices = ["{BOX_RED}"]
handover = "kernel"
driver = "xdma"
"""
IDLE = f"""
[cluster.red]
devices = ["{FAR}"]
"""


@pytest.mark.parametrize("apart", [True, False])
@pytest.mark.parametrize("files", [(DRIVEN, IDLE), (IDLE, DRIVEN), (DRIVEN + IDLE,)])
def test_what_a_driver_of_the_host_has_for_a_cluster_is_in_use(
    run: Run, tmp_path: Path, files: tuple[str, ...], apart: bool
) -> None:
    """Nobody has it open, and its driver may have it reach others at any moment."""
    twin = Twin.new("pcie-box")
    for text in files:
        host, made = planned(twin, text)
        execute(twin, host, made)
    dead_run(twin)
    if not apart:
        for port in ("0000:00:01.0", "0000:02:00.0"):
            set_control(twin, Address.parse(port), AcsFlag(0))
        assert twin.attack(Address.parse(BOX_RED), Address.parse(FAR)).reached
    path = tmp_path / "box.twin"
    twin.save(path)
    for options in ((), ("--json",)):
        twin.save(path)
        ran = run("recover", "--host", path, *options)
        assert ran.code == (0 if apart else 1)
    assert ran.json["verdict"] == ("proven" if apart else "violated")
    assert ran.json["idle"] == ["red"]
    twin.save(path)
    assert "Not proven: red (nobody uses what was given to them" in run("recover", "--host", path).out


def test_clusters_of_which_nobody_runs_are_named_as_not_proven(run: Run, ac922: Path, spec: Path) -> None:
    spec.write_text(SPEC.replace("held", "vfio").split("[cluster.blue]")[0])
    assert run("apply", spec, "--host", ac922).code in (0, 1)
    twin = Twin.load(ac922)
    dead_run(twin)
    twin.save(ac922)
    ran = run("recover", "--host", ac922)
    assert "No tenant has a device of these clusters open.\nNot proven: red (" in ran.out


def test_a_journal_that_may_not_be_the_hosts_is_told(run: Run, ac922: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a container with an empty folder of its own, say, nothing died either."""
    assert run("recover", "--host", ac922, "--json").json["unshown"] is None
    monkeypatch.setattr(Twin, "of_host", lambda twin: None, raising=False)
    ran = run("recover", "--host", ac922)
    assert ran.code == 0
    assert "Taken as true: nothing was given to clusters beside what the journal here" in ran.out
    assert "whether it is the host's is not shown" in " ".join(ran.out.split())
    assert run("recover", "--host", ac922, "--json").json["unshown"]


def test_writes_are_shown_when_asked_for(run: Run, ac922: Path, spec: Path) -> None:
    ran = run("apply", spec, "--host", ac922)
    assert ran.err == ""
    run("release", spec, "--host", ac922)
    ran = run("apply", spec, "--host", ac922, "--verbose")
    assert ran.code == 0
    lines = ran.err.splitlines()
    assert all(line.startswith("atoll.act: write=") for line in lines)
    assert any(f"write={RED}_BAR0" in line and "step=s" in line and "reason=" in line for line in lines)


def test_what_is_only_read_is_not_recovered(run: Run, tmp_path: Path) -> None:
    (tmp_path / "sys").mkdir()
    ran = run("recover", "--host", tmp_path)
    assert (ran.code, ran.out) == (4, "")
