"""Groups in the form of forums: as the shell loop prints them, and readable again."""

from __future__ import annotations

import lzma
from pathlib import Path

import pytest
from running import CAPTURES, MACHINES, Run


def _unpack(folder: Path, machine: str) -> Path:
    path = folder / "lspci.txt"
    path.write_bytes(lzma.decompress((MACHINES / machine / "lspci.txt.xz").read_bytes()))
    return path


def test_as_the_shell_loop_prints_them(run: Run, tmp_path: Path) -> None:
    text = _unpack(tmp_path, "mac-cometlake-titanridge")
    ran = run("groups", "--format", "forum", "--host", text)
    assert (ran.code, ran.err) == (0, "")
    lines = ran.out.splitlines()
    first = [line for line in lines if not line.startswith("#")][:2]
    assert first[0] == "IOMMU Group 0:"
    assert first[1].startswith("\t00:00.0 Host bridge [0600]: ")
    assert first[1].endswith("[8086:9b53] (rev 03)")


@pytest.mark.parametrize("machine", [p.name for p in sorted(MACHINES.iterdir()) if (p / "iommu_groups.txt").exists()])
def test_they_are_read_again_as_they_were(run: Run, tmp_path: Path, machine: str) -> None:
    record = (MACHINES / machine / "iommu_groups.txt",)
    text = ("--host", _unpack(tmp_path, machine)) if (MACHINES / machine / "lspci.txt.xz").exists() else ()
    hosts = (*text, "--host", *record)
    forum = tmp_path / "forum.txt"
    forum.write_text(run("groups", "--format", "forum", *hosts).out)
    assert run("groups", "--json", "--host", forum).json["recorded"] == run("groups", "--json", *hosts).json["recorded"]


@pytest.mark.parametrize("capture", CAPTURES[:4], ids=lambda path: path.name.partition(".")[0])
def test_of_real_kernels(run: Run, tmp_path: Path, capture: Path) -> None:
    forum = tmp_path / "forum.txt"
    forum.write_text(run("groups", "--format", "forum", "--host", capture).out)
    before = run("groups", "--json", "--host", capture).json["recorded"]
    assert run("groups", "--json", "--host", forum).json["recorded"] == before


def test_domains_where_there_are_several(run: Run) -> None:
    assert (
        "\t0004:04:00.0 3D controller [0302]: " in run("groups", "--format", "forum", "--host", "twin:ac922-4gpu").out
    )


def test_predicted_groups_say_so(run: Run, tmp_path: Path) -> None:
    text = _unpack(tmp_path, "mac-cometlake-titanridge")
    without = [line for line in text.read_text().splitlines(keepends=True) if "IOMMU group:" not in line]
    text.write_text("".join(without))
    out = run("groups", "--format", "forum", "--host", text).out
    assert out.startswith("# Predicted, not recorded (the text shows no IOMMU groups)")


def test_one_form_at_a_time(run: Run) -> None:
    ran = run("groups", "--format", "forum", "--json", "--host", "twin:dgx1v")
    assert (ran.code, ran.out) == (2, "")
    assert "give one of them" in ran.err


def test_what_the_list_does_not_show_stands_above_it(run: Run, tmp_path: Path) -> None:
    """Who reads it in a forum sees nothing else of the host."""
    said = "[ 0.0] Warning: PCIe ACS overrides enabled; This may allow non-IOMMU protected peer-to-peer DMA\n"
    post = tmp_path / "post.txt"
    post.write_text(f"{said}IOMMU Group 1:\n\t01:00.0 VGA: X\n\n02:00.0 Ethernet controller: Y\n")
    fiction, untold, heading, member = run("groups", "--format", "forum", "--host", post).out.splitlines()
    assert fiction == "# pcie_acs_override= shapes these groups: they say nothing of the hardware"
    assert untold == "# Of 1 function more the group is not told: 0000:02:00.0"
    assert (heading, member.split()[0]) == ("IOMMU Group 1:", "01:00.0")
    (tmp_path / "again.txt").write_text("\n".join((fiction, untold, heading, member)))
    assert run("groups", "--json", "--host", tmp_path / "again.txt").json["recorded"] == [["0000:01:00.0"]]
