"""The guest's Python has all that atoll and the scenarios import."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from lab.guest.image import SOURCE
from lab.guest.stdlib import left_out

_GUEST_CODE = Path(__file__).parents[2] / "lab/scenarios/guest"

# They use OpenSSL or libuuid where there is one, and modules of the interpreter itself where not.
_COMPLETE_WITHOUT = {"hashlib", "uuid"}


def imported() -> set[str]:
    """The modules that any file imports, at its top or inside a function."""
    found: set[str] = set()
    for path in [*(SOURCE / "atoll").rglob("*.py"), *_GUEST_CODE.glob("*.py")]:
        for node in ast.walk(ast.parse(path.read_bytes())):
            if isinstance(node, ast.Import):
                found |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                found.add(node.module)
    return found


def test_nothing_that_is_imported_is_left_out() -> None:
    missing = []
    for name in imported():
        path = name.replace(".", "/")
        if any(left_out(file) for file in (f"{path}.py", f"{path}/__init__.py", f"lib-dynload/_{path}.cpython-311.so")):
            missing.append(name)
    assert set(missing) <= _COMPLETE_WITHOUT


@pytest.mark.parametrize("file", ["asyncio/events.py", "encodings/cp1252.py", "lib-dynload/_ssl.cpython-311.so"])
def test_what_nobody_imports_is_left_out(file: str) -> None:
    assert left_out(file)
