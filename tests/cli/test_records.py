"""The reading verbs on recorded machines and on this one."""

from __future__ import annotations

from pathlib import Path

import pytest
from running import CAPTURES, Run, unpack


@pytest.mark.parametrize("verb", ["show", "groups", "doctor"])
@pytest.mark.parametrize("capture", CAPTURES, ids=lambda path: path.name.removesuffix(".tar.xz"))
def test_captures(run: Run, verb: str, capture: Path) -> None:
    ran = run(verb, "--host", capture)
    assert (ran.code, ran.err) == (0, "")
    document = run(verb, "--host", capture, "--json").json
    assert document["schema"] == f"atoll.{verb}/1"
    assert document["host"] == str(capture)
    if verb == "groups":
        assert document["recorded"] == document["predicted"]
        assert document["recorded"]
        assert "As predicted" in ran.out


def test_there_are_captures() -> None:
    assert len(CAPTURES) > 10


@pytest.mark.parametrize("verb", ["show", "groups", "doctor"])
def test_live(run: Run, verb: str) -> None:
    ran = run(verb)
    assert (ran.code, ran.err) == (0, "")
    assert run(verb, "--json").json["host"] == "live"
    if not any(Path("/sys/kernel/iommu_groups").glob("*")):
        assert {"show": "No IOMMU", "groups": "no IOMMU", "doctor": "fail     iommu"}[verb] in ran.out


def test_groups_of_a_record_without_pci_are_unknown(run: Run, tmp_path: Path) -> None:
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/cmdline").write_text("quiet\n")
    (tmp_path / "sys/devices").mkdir(parents=True)
    nothing = run("groups", "--host", tmp_path)
    assert (nothing.code, nothing.out[:27]) == (3, "No PCI function in this rec")
    for folder in ("sys/bus/pci/devices", "sys/kernel/iommu_groups"):
        (tmp_path / folder).mkdir(parents=True)
    assert run("groups", "--host", tmp_path).code == 0, "a host that has none, and says so"


def test_groups_where_a_function_could_not_be_read_are_unknown(run: Run, tmp_path: Path) -> None:
    (tmp_path / "sys/bus/pci/devices").mkdir(parents=True)
    (tmp_path / "sys/kernel/iommu_groups").mkdir(parents=True)
    (tmp_path / "sys/bus/pci/devices/0000:00:01.0").mkdir()
    assert run("groups", "--host", tmp_path).code == 3


def test_two_records_of_one_machine(run: Run, tmp_path: Path) -> None:
    """What one record lacks, the other has."""
    for part in ("sys", "proc"):
        unpack(CAPTURES[0], tmp_path / part, part)
    alone = run("show", "--host", tmp_path / "sys", "--json").json
    both = run("show", "--host", tmp_path / "sys", "--host", tmp_path / "proc", "--json").json
    assert alone["kernel"] is None
    assert both["kernel"].startswith("6.1")
    assert both["functions"] == alone["functions"]


def test_doctor_tells_why_and_what_to_do(run: Run) -> None:
    checks = run("doctor", "--host", CAPTURES[0], "--json").json["checks"]
    assert len({check["id"] for check in checks}) > 8
    for check in checks:
        assert check["status"] in ("ok", "warn", "fail", "unknown")
        if check["status"] in ("warn", "fail"):
            assert check["why"]
            assert check["do"]
