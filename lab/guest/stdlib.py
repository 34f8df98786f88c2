"""The guest's Python: its interpreter, libraries, and the standard library without what atoll never imports."""

from __future__ import annotations

from fnmatch import fnmatch
from pathlib import Path

from lab.guest.bytecode import compile_sources
from lab.guest.cpio import Entry, file, link

__all__ = ["left_out", "python_entries"]

_VERSION = "python3.11"

# Whole packages and modules that neither atoll nor scenarios use; without them the guest boots faster.
_LEFT_OUT = (
    *("asyncio/*", "curses/*", "dbm/*", "distutils/*", "email/*", "ensurepip/*", "http/*", "idlelib/*"),
    *("lib2to3/*", "multiprocessing/*", "pydoc_data/*", "test/*", "tkinter/*", "turtledemo/*", "unittest/*"),
    *("wsgiref/*", "xmlrpc/*", "config-*", "turtle.py", "pydoc.py", "doctest.py", "pdb.py"),
    *("encodings/cp*", "encodings/mac_*", "encodings/iso*", "encodings/koi*", "encodings/*jis*", "encodings/big5*"),
    *("encodings/euc*", "encodings/gb*", "encodings/hz*", "encodings/johab*"),
    *(f"lib-dynload/{name}*" for name in ("_codecs_", "_test", "_xx", "xx", "_ssl", "_hashlib", "_tkinter", "_dbm")),
    *(f"lib-dynload/{name}*" for name in ("_gdbm", "_curses", "readline", "audioop", "nis")),
    *(f"lib-dynload/{name}*" for name in ("_crypt", "_asyncio", "_multiprocessing", "ossaudiodev", "_uuid")),
)

# What the interpreter and the kept extension modules are linked with.
_LIBRARIES = (
    *("libc.so.6", "libm.so.6", "libpthread.so.0", "libdl.so.2", "libutil.so.1", "librt.so.1", "libgcc_s.so.1"),
    *("libz.so.1", "libexpat.so.1", "libffi.so.8", "libbz2.so.1.0", "liblzma.so.5", "libsqlite3.so.0"),
)


def python_entries(root: Path) -> list[Entry]:
    """What goes into the guest from the unpacked packages in ``root``."""
    interpreter = root / "usr/bin" / _VERSION
    entries = [
        file(f"usr/bin/{_VERSION}", interpreter.read_bytes(), executable=True),
        link("usr/bin/python3", _VERSION),
    ]
    for loader in (root / "lib64").iterdir():
        entries.append(file(f"lib64/{loader.name}", _behind(root, loader).read_bytes(), executable=True))
    for name in _LIBRARIES:
        found = sorted(path for top in ("lib", "usr/lib") for path in (root / top).glob(f"*-linux-gnu/{name}"))
        entries.append(file(f"lib/{found[0].parent.name}/{name}", _behind(root, found[0]).read_bytes()))
    return entries + _library_entries(root)


def left_out(path: str) -> bool:
    """Whether the guest goes without this file of the standard library (path beneath ``lib/python3.11``)."""
    return any(fnmatch(path, pattern) for pattern in _LEFT_OUT)


def _library_entries(root: Path) -> list[Entry]:
    library = root / "usr/lib" / _VERSION
    sources, entries = {}, []
    for path in sorted(library.rglob("*")):
        inner = path.relative_to(library).as_posix()
        if not path.is_file() or "__pycache__" in inner or left_out(inner):
            continue
        if path.suffix == ".py":
            sources[f"usr/lib/{_VERSION}/{inner}"] = path.read_bytes()
        elif path.suffix == ".so":
            entries.append(file(f"usr/lib/{_VERSION}/{inner}", path.read_bytes()))
    # "module.pyc" where the source would be: found without looking for a source first.
    return entries + [file(f"{path}c", code) for path, code in compile_sources(sources).items()]


def _behind(root: Path, path: Path) -> Path:
    """The file behind links of an unpacked system, whose absolute links mean its own root."""
    while path.is_symlink():
        target = path.readlink()
        path = root / target.relative_to("/") if target.is_absolute() else path.parent / target
    return path
