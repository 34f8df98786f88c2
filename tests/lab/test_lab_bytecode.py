"""Compiling for the guest with the guest's own Python."""

from __future__ import annotations

import marshal
import sys
from pathlib import Path

import pytest

from lab.errors import LabError
from lab.guest import bytecode
from lab.guest.bytecode import compile_sources

# importlib: magic number, flags (1: by hash, never checked), hash; then the code.
_HEADER_BYTES = 16


def test_each_file_is_compiled_once_and_knows_its_place(small_lab: str, monkeypatch: pytest.MonkeyPatch) -> None:
    sources = {"lab/one.py": b"x = 1\n", "lab/broken.py": b"def (\n"}
    made = compile_sources(sources)
    assert set(made) == {"lab/one.py"}
    assert int.from_bytes(made["lab/one.py"][4:8], "little") == 1
    if sys.version_info[:2] == (3, 11):
        assert marshal.loads(made["lab/one.py"][_HEADER_BYTES:]).co_filename == "/lab/one.py"
    monkeypatch.setattr(bytecode, "_run_compiler", lambda stage, *, cache: None)
    assert compile_sources({"lab/one.py": b"x = 1\n"}) == made


def test_a_python_that_does_not_run_is_no_empty_guest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bytecode, "_run_compiler", lambda stage, *, cache: None)
    with pytest.raises(LabError) as caught:
        compile_sources({"lab/one.py": b"x = 1\n"}, cache=tmp_path)
    assert "compiled nothing" in caught.value.message
