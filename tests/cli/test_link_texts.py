"""What nvidia-smi prints, named beside what shows the functions: the links are joined, whatever the order."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

import pytest
from running import Run

_TOPO = Path(__file__).parent.parent / "data" / "links" / "topo-m-dgx1v-8xV100" / "topo.txt"


@pytest.fixture
def lspci(tmp_path: Path) -> Path:
    """Return a text with eight V100s on root buses of their own."""
    path = tmp_path / "lspci.txt"
    lines = [f"{0x10 + n:02x}:00.0 3D controller [0302]: NVIDIA GV100GL [10de:1db1] (rev a1)\n" for n in range(8)]
    path.write_text("".join(lines))
    return path


def _links(run: Run, *names: Path) -> set[tuple[str, ...]]:
    ran = run("show", "--json", *(word for name in names for word in ("--host", name)))
    assert ran.code == 0
    found: set[tuple[str, ...]] = set()
    for function in ran.json["functions"]:
        assert function["links_told"]
        found |= {tuple(sorted((function["address"], link["peer"]))) for link in function["links"]}
    return found


def test_links_are_joined_in_either_order(run: Run, lspci: Path) -> None:
    found = _links(run, lspci, _TOPO)
    assert len(found) == 16
    assert ("0000:10:00.0", "0000:11:00.0") in found
    assert _links(run, _TOPO, lspci) == found


def test_links_beside_a_text_without_ids(run: Run, lspci: Path) -> None:
    """``lspci -v`` names the maker, by which GPUs are known; of which family they are stays open."""
    with_ids = _links(run, lspci, _TOPO)
    text = lspci.read_text().replace(" [0302]", "").replace("NVIDIA GV100GL [10de:1db1]", "NVIDIA Corporation GV100GL")
    lspci.write_text(text)
    ran = run("show", "--json", "--host", lspci, "--host", _TOPO)
    functions = ran.json["functions"]
    assert {tuple(sorted((f["address"], link["peer"]))) for f in functions for link in f["links"]} == with_ids
    assert not any(f["links_told"] for f in functions)


def test_one_text_that_holds_both(run: Run, lspci: Path) -> None:
    found = _links(run, lspci, _TOPO)
    lspci.write_bytes(lspci.read_bytes() + b"\n$ nvidia-smi topo -m\n" + _TOPO.read_bytes())
    assert _links(run, lspci) == found


def test_a_folder_and_a_text(run: Run, tmp_path: Path) -> None:
    for n in range(8):
        folder = tmp_path / f"sys/bus/pci/devices/0000:{0x10 + n:02x}:00.0"
        folder.mkdir(parents=True)
        for name, value in (("vendor", "0x10de"), ("device", "0x1db1"), ("class", "0x030200")):
            (folder / name).write_text(f"{value}\n")
    assert len(_links(run, tmp_path, _TOPO)) == 16


def test_links_alone_say_what_is_missing(run: Run) -> None:
    ran = run("show", "--host", _TOPO)
    assert ran.code == 2
    assert "nothing that shows the PCI functions" in ran.err.splitlines()[0]
    assert "--host lspci.txt" in ran.err.splitlines()[1]


def test_what_standard_input_holds_is_joined_too(run: Run, lspci: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Pasted:
        buffer = BytesIO(_TOPO.read_bytes())

    monkeypatch.setattr("sys.stdin", Pasted)
    assert len(_links(run, lspci, Path("-"))) == 16


def test_links_whose_other_ends_are_open_are_not_called_unknown(run: Run, tmp_path: Path) -> None:
    """Switches that the host has and no record names: where the links lead is open, that they are there is not."""
    names = [f"GPU{n}" for n in range(8)]
    rows = ["\t" + "\t".join(names)]
    rows += [name + "\t" + "\t".join(" X " if name == other else "NV18" for other in names) for name in names]
    text = tmp_path / "b200.txt"
    gpus = [f"{0x10 + n:02x}:00.0 3D controller [0302]: NVIDIA GB100 [B200] [10de:2901] (rev a1)" for n in range(8)]
    gpus.append("05:00.0 Bridge [0680]: NVIDIA Corporation Device [10de:22a3] (rev a1)")
    text.write_text("\n".join([*gpus, "$ nvidia-smi topo -m", *rows]) + "\n")
    shown = run("show", "--host", text).out
    assert "NVLink ×18" in shown
    assert "more links possible:" in shown
    assert shown.count("links unknown") == 1, "the switch's"


def test_which_switches_links_lead_to(run: Run, tmp_path: Path) -> None:
    switches = "".join(f'<nvlink target="0000:0{n}:00.0" count="3" tclass="0x068000"/>' for n in (5, 6, 7, 8))
    text = tmp_path / "topo.xml"
    text.write_text(
        '<system version="1"><pci busid="0000:10:00.0" class="0x030200" vendor="0x10de" device="0x20b0">'
        f"<gpu>{switches}</gpu></pci></system>"
    )
    shown = run("show", "--host", text).out
    assert "NVLink ×12 (numbers unknown) to 4 switches, 25 GB/s each" in shown
    assert shown.count("NVLink ×") == 1
    whole = run("show", "-v", "--host", text).out
    for n in (5, 6, 7, 8):
        assert f"NVLink ×3 (numbers unknown) to switch 0000:0{n}:00.0, 25 GB/s each" in whole
    assert whole.partition("Read from\n")[2].split() == [str(text)], "once, though it shows functions and links"
