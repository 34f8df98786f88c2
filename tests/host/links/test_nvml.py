"""NVML: what its functions answer becomes a record, and the record links with numbers at both ends."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atoll.host import nvml, read_host
from atoll.host.capture.make import capture
from atoll.host.links.nvml import is_nvml
from atoll.host.links.read import is_link_record, read_link_records
from atoll.host.model import EndKind, Host, LinkKind
from atoll.host.records.content import read_record
from atoll.host.together import read_together
from atoll.host.trees.live import LiveTree
from atoll.pci.address import Address
from host.handmade import function_files, tree_of
from host.links.fake_nvml import FakeGpu, FakeLink, FakeNvml, NVMLError

A = Address.parse
ONE, TWO, SWITCH = "00000000:10:00.0", "00000000:11:00.0", "00000000:20:00.0"


def pair(count: int = 6) -> list[FakeGpu]:
    """Two V100s joined by links that are crossed over: link n leads to the other's link count - 1 - n."""
    return [FakeGpu(a, [FakeLink(b, count - 1 - n) for n in range(count)]) for a, b in ((ONE, TWO), (TWO, ONE))]


def document(gpus: list[FakeGpu]) -> bytes:
    return json.dumps(nvml.query(FakeNvml(gpus))).encode()


def host_of(data: bytes, device: int = 0x1DB1) -> Host:
    files: dict[str, str | bytes] = {"records/nvml.json": data}
    for address in ("0000:10:00.0", "0000:11:00.0"):
        files |= function_files(address, vendor=0x10DE, device=device, kind=0x030200)
    files |= function_files("0000:20:00.0", device=0x22A3, kind=0x068000)
    return read_host(tree_of(files))


def test_links_have_numbers_at_both_ends_and_rates() -> None:
    host = host_of(document(pair()))
    found = {(link.a.function, link.a.number, link.b.function, link.b.number) for link in host.links}
    assert found == {(A("10:00.0"), n, A("11:00.0"), 5 - n) for n in range(6)}
    assert {link.bytes_per_second for link in host.links} == {25_781_000_000}
    assert all(link.pairing_told and "NVML" in link.source for link in host.links)
    assert host.links_told == {A("10:00.0"), A("11:00.0")}


def test_a_link_that_is_down_leaves_its_gpu_untold() -> None:
    gpus = pair()
    gpus[0].links = [*gpus[0].links[:5], FakeLink(None)]
    gpus[1].links = [FakeLink(None), *gpus[1].links[1:]]
    host = host_of(document(gpus))
    assert len(host.links) == 5
    assert not host.links_told


def test_c2c_and_fabric() -> None:
    gpus = [FakeGpu(ONE, [FakeLink("FFFFFFFF:FF:FF.0")] * 18, c2c=True, clique=2), FakeGpu(TWO, c2c=False)]
    host = host_of(document(gpus), 0x2941)
    assert {link.kind for link in host.links if link.a.function == A("10:00.0")} == {LinkKind.NVLINK, LinkKind.C2C}
    assert any("clique 2" in link.b.name for link in host.links)
    assert not host.links_told


def test_instances_are_told_and_are_no_gpus() -> None:
    gpus = pair()
    gpus[0].instances = 3
    host = host_of(document(gpus))
    (gap,) = [gap for gap in host.gaps if "MIG" in gap.what]
    assert (gap.what, "split in 3" in gap.why) == ("instances (MIG) of 0000:10:00.0", True)
    assert host.links_told == {A("10:00.0"), A("11:00.0")}
    older = json.loads(document(pair()))
    for gpu in older["gpus"]:
        del gpu["instances"]
    assert host_of(json.dumps(older).encode()).links == host_of(document(pair())).links


def test_a_switch_that_is_a_function() -> None:
    host = host_of(document([FakeGpu(ONE, [FakeLink(SWITCH, 7)])]))
    assert {(link.b.kind, link.b.number) for link in host.links} == {(EndKind.SWITCH, 7)}


def test_a_lost_gpu_is_left_out_and_the_library_is_closed() -> None:
    module = FakeNvml([FakeGpu(ONE, lost=True), FakeGpu(TWO)])
    assert [gpu["bus_id"] for gpu in nvml.query(module)["gpus"]] == [TWO]  # type: ignore[attr-defined]
    assert module.calls == ["init", "shutdown"]


def test_without_a_driver_it_is_an_error_of_the_module() -> None:
    with pytest.raises(NVMLError):
        nvml.query(FakeNvml([], loads=False))


def test_an_old_module_without_newer_functions() -> None:
    class Old(FakeNvml):
        def __getattribute__(self, name: str) -> Any:
            if name in ("nvmlDeviceGetC2cModeInfoV", "c_nvmlGpuFabricInfo_v2_t", "nvmlDeviceGetFieldValues"):
                raise AttributeError(name)
            return super().__getattribute__(name)

    found = json.dumps(nvml.query(Old(pair()))).encode()
    assert {link.a.number for link in host_of(found).links} == set(range(6))


def test_named_beside_a_text_it_is_joined() -> None:
    listing = "".join(f"{bus}:00.0 3D controller [0302]: NVIDIA X [10de:1db1]\n" for bus in (10, 11)).encode()
    records = [read_record(document(pair()), name="nvml.json"), read_record(listing, name="lspci.txt")]
    assert len(read_together(records).links) == 6


def test_a_capture_keeps_it_and_hides_ids() -> None:
    files: dict[str, str | bytes] = {"records/nvml.json": document(pair())}
    for address in ("0000:10:00.0", "0000:11:00.0"):
        files |= function_files(address, vendor=0x10DE, device=0x1DB1, kind=0x030200)
    tree = tree_of(files)
    made = capture(tree, read_host(tree), secret=b"0" * 32)
    assert b"GPU-00000000-0000-0000-0000-000000000001" not in made.tree.read("records/nvml.json")
    assert len(read_host(made.tree).links) == 6


def test_a_live_host_without_the_driver_has_no_such_record(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nvml, "_DRIVER", "/nowhere")
    assert not nvml.is_available()
    with pytest.raises(FileNotFoundError):
        LiveTree().read("records/nvml.json")


def test_a_live_host_asks_a_process_of_its_own(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    # A driver, and a module that is installed and has nothing to tell.
    driver = tmp_path / "version"
    driver.write_text("NVRM version\n")
    (tmp_path / "pynvml.py").write_text(
        "class NVMLError(Exception): pass\ndef nvmlInit(): pass\ndef nvmlShutdown(): pass\n"
        "def nvmlDeviceGetCount(): return 0\n"
    )
    monkeypatch.setattr(nvml, "_DRIVER", str(driver))
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    assert "nvml.json" in LiveTree().list("records")
    assert json.loads(LiveTree().read("records/nvml.json")) == {"schema": nvml.SCHEMA, "gpus": []}
    (tmp_path / "pynvml.py").write_text("class NVMLError(Exception): pass\ndef nvmlInit(): raise NVMLError('none')\n")
    with pytest.raises(OSError, match="failed"):
        LiveTree().read("records/nvml.json")


_PLAIN = st.none() | st.booleans() | st.integers() | st.text(max_size=8)


@given(st.recursive(_PLAIN, lambda inner: st.lists(inner, max_size=3)))
def test_damaged_records_are_gaps(value: Any) -> None:
    whole = json.loads(document(pair(2)))
    for key in ("index", "bus_id", "uuid", "links", "c2c", "fabric"):
        data = json.dumps({**whole, "gpus": [{**whole["gpus"][0], key: value}]}).encode()
        assert is_nvml(data)
        found = read_link_records({"x": data}, host_of(b"{}").functions)
        assert is_link_record(data) == bool(found.used)
