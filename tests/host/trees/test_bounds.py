"""What is far too much for a record is refused before it is read."""

from __future__ import annotations

import resource
from pathlib import Path
from time import process_time

import pytest

from atoll.errors import InputError
from atoll.host.open import open_named
from atoll.host.records.content import read_record


def test_a_device_tree_blob_of_many_gigabytes(tmp_path: Path) -> None:
    pytest.importorskip("libfdt")
    path = tmp_path / "huge.dtb"
    with path.open("wb") as file:
        file.write(b"\xd0\x0d\xfe\xed")
        file.truncate(1 << 40)
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (8 << 30, before[1]))
    try:
        with pytest.raises(InputError, match="too large"):
            open_named(str(path))
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (b"\r" * (5 << 20), "lines are too many"),
        (b"IOMMU Group 1 00:01.0 VGA [0300]: NVIDIA [10de:1db1]\n" * 600_000, "names functions more than"),
    ],
)
def test_texts_that_no_machine_has(text: bytes, why: str) -> None:
    begun = process_time()
    with pytest.raises(InputError, match=why):
        read_record(text, name="text")
    assert process_time() - begun < 10


def test_the_time_of_a_line_names_no_function(monkeypatch: pytest.MonkeyPatch) -> None:
    line = "Nov 29 12:34:5{}.345678 host kernel: pci 0000:00:0{}.0: Adding to iommu group {}\n"
    text = "".join(line.format(at, at, at) for at in range(8)).encode()
    monkeypatch.setattr("atoll.host.records.pasted.lines._MOST_NAMED", 8)
    read_record(text, name="text")
    monkeypatch.setattr("atoll.host.records.pasted.lines._MOST_NAMED", 7)
    with pytest.raises(InputError, match="names functions more than 7 times"):
        read_record(text, name="text")
