"""Python files compiled for the guest by the guest's own Python, each once."""

from __future__ import annotations

import hashlib
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path

from lab.errors import LabError
from lab.fetch import part
from lab.fetch.cache import cache_folder

__all__ = ["compile_sources"]


def compile_sources(sources: Mapping[str, bytes], *, cache: Path | None = None) -> dict[str, bytes]:
    """The bytecode of each file (paths in the guest, without a leading slash). Bytecode is the same on all processors.

    Files that this Python cannot compile are left out (the standard library's tests have some on purpose).
    Raises `LabError` where the guest's Python cannot be run, on another processor than x86-64.
    """
    cache = cache or cache_folder()
    store = cache / "bytecode"
    store.mkdir(parents=True, exist_ok=True)
    keys = {path: hashlib.sha256(path.encode() + b"\0" + data).hexdigest() for path, data in sources.items()}
    missing = [path for path, key in keys.items() if not (store / key).exists()]
    if missing:
        with tempfile.TemporaryDirectory(dir=store, prefix="new-") as name:
            stage = Path(name)
            for path in missing:
                (stage / path).parent.mkdir(parents=True, exist_ok=True)
                (stage / path).write_bytes(sources[path])
            _run_compiler(stage, cache=cache)
            for path in missing:
                made = (stage / path).with_suffix(".pyc")
                if made.exists():
                    made.replace(store / keys[path])
    found = {path: (store / key).read_bytes() for path, key in keys.items() if (store / key).exists()}
    if sources and not found:
        raise LabError("the guest's Python compiled nothing", f"Does it run here? Else remove {cache} and fetch again.")
    return found


def _run_compiler(stage: Path, *, cache: Path) -> None:
    root = part("guest-x86", cache=cache) / "root"
    libraries = f"{root}/lib/x86_64-linux-gnu:{root}/usr/lib/x86_64-linux-gnu"
    command = (
        *(f"{root}/lib64/ld-linux-x86-64.so.2", "--library-path", libraries, f"{root}/usr/bin/python3.11"),
        *("-S", "-m", "compileall", "-q", "-b", "--invalidation-mode", "unchecked-hash"),
        *("-s", str(stage), "-p", "/", str(stage)),
    )
    try:
        subprocess.run(
            command,
            env={"PYTHONHOME": f"{root}/usr", "PYTHONDONTWRITEBYTECODE": "1"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            # Not checked: exit code 1 also says that one file of hundreds cannot be compiled.
            check=False,
        )
    except OSError as error:
        raise LabError(
            f"the guest's Python does not run here: {error.strerror}", "The lab needs an x86-64 machine."
        ) from error
