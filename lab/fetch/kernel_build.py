"""The lab's own kernel: Debian's source of Linux 6.12 with ``kernel.config``, because Debian builds no iommufd.

Takes about ten minutes of processor time, once; the result is kept until the configuration or the source changes.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path

from lab.errors import LabError
from lab.fetch import part, versions_of
from lab.fetch.cache import cache_folder, exclusive, replace_folder, require_space
from lab.fetch.record import write_bundle
from lab.stopping import ends

__all__ = ["CONFIGURATION", "built_kernel", "missing_options"]

CONFIGURATION = Path(__file__).with_name("kernel.config")

# What is expected on the machine; flex, bison, m4 and libelf are fetched.
_TOOLS = ("gcc", "make", "bc", "perl", "tar", "xz", "ld")

# Unpacked source without what x86 does not read, and the objects.
_BUILD_BYTES = 3 << 30

_UNREAD = ("Documentation", "sound", "samples", "drivers/gpu/drm/amd", "drivers/net/ethernet", "drivers/net/wireless")


def built_kernel(*, say: Callable[[str], None] = lambda line: None) -> Path:
    """The kernel's image, built on first use. Raises `LabError` where it cannot be built, with the log's place."""
    cache = cache_folder()
    part("kernel-source", cache=cache, say=say)
    source = versions_of("kernel-source", cache=cache)
    key = hashlib.sha256(f"{source}\n{CONFIGURATION.read_text()}".encode()).hexdigest()
    place = cache / "kernels" / f"iommufd-{key[:16]}"
    image = place / "bzImage"
    if not image.exists():
        with exclusive(cache, "kernel-iommufd"):
            if not image.exists():
                _build(place, cache=cache, say=say)
                with exclusive(cache, "versions"):
                    write_bundle(cache, "kernel-iommufd", [], source=source, configuration_sha256=key)
    return image


def missing_options(wanted: str, got: str) -> list[str]:
    """The lines of a configuration fragment that a ``.config`` does not carry out (``=n`` means: not set)."""
    have = dict(line.split("=", 1) for line in got.splitlines() if line.startswith("CONFIG_"))
    missing = []
    for line in wanted.splitlines():
        if line.startswith("CONFIG_"):
            name, value = line.split("=", 1)
            if have.get(name, "n") != value:
                missing.append(line)
    return missing


def _build(place: Path, *, cache: Path, say: Callable[[str], None]) -> None:
    for tool in _TOOLS:
        if shutil.which(tool) is None:
            raise LabError(
                f"{tool} is not here: a kernel with iommufd cannot be built",
                "Debian: apt-get install build-essential bc perl xz-utils",
            )
    require_space(cache, _BUILD_BYTES)
    tools = part("kernel-tools", cache=cache, say=say) / "root"
    archive = next((cache / "parts" / "kernel-source" / "root" / "usr" / "src").glob("linux-source-*.tar.xz"))
    work = place.with_name(f"{place.name}.work")
    shutil.rmtree(work, ignore_errors=True)
    tree, new = work / "linux", work / "done"
    tree.mkdir(parents=True)
    new.mkdir()
    log = cache / "kernels" / "iommufd.log"
    log.unlink(missing_ok=True)
    say(f"kernel-iommufd: building from {archive.name}, about ten minutes of processor time; log: {log}")

    _step(("tar", "-xJf", str(archive), "--strip-components=1", "-C", str(tree), *_exclusions()), log=log)
    make = _Make(tree, tools=tools, log=log)
    make("tinyconfig")
    configuration = tree / ".config"
    wanted = CONFIGURATION.read_text()
    configuration.write_text(configuration.read_text() + wanted)
    make("olddefconfig")
    if missing := missing_options(wanted, configuration.read_text()):
        raise LabError(
            f"{CONFIGURATION.name}: {len(missing)} options did not take effect: {', '.join(missing)}",
            "The kernel's source has changed them; adapt the configuration.",
        )
    make(f"-j{len(os.sched_getaffinity(0))}", "bzImage")
    shutil.copy(tree / "arch/x86/boot/bzImage", new)
    shutil.copy(configuration, new / "config")
    replace_folder(new, place)
    shutil.rmtree(work)


def _exclusions() -> list[str]:
    """What need not be unpacked: C files of parts that are not built. Their Kconfig and Makefiles are read."""
    return [f"--exclude=*/{folder}/*.{ending}" for folder in _UNREAD for ending in ("c", "h", "rst")]


class _Make:
    """``make`` in a kernel tree, with the fetched tools in front and nothing inherited from a make around it."""

    def __init__(self, tree: Path, *, tools: Path, log: Path) -> None:
        self._tree = tree
        self._log = log
        libraries = tree.parent / "libraries"
        libraries.mkdir()
        # m4 alone needs a library of the fetched ones; the compiler must not see the others.
        found = next((tools / "usr/lib").glob("*/libsigsegv.so.2"))
        (libraries / found.name).symlink_to(found)
        self._environment: Mapping[str, str] = {
            **{name: os.environ[name] for name in ("HOME", "TMPDIR") if name in os.environ},
            "PATH": f"{tools / 'usr/bin'}:{os.environ['PATH']}",
            "LD_LIBRARY_PATH": str(libraries),
            "M4": str(tools / "usr/bin/m4"),
            "BISON_PKGDATADIR": str(tools / "usr/share/bison"),
            "LC_ALL": "C.UTF-8",
            # The same source gives the same kernel.
            "KBUILD_BUILD_USER": "atoll",
            "KBUILD_BUILD_HOST": "lab",
            "KBUILD_BUILD_TIMESTAMP": "@0",
        }
        static = next((tools / "usr/lib").glob("*/libelf.a")).parent
        self._variables = (
            f"LIBELF_FLAGS=-I{tools / 'usr/include'}",
            f"LIBELF_LIBS={static / 'libelf.a'} {static / 'libz.a'}",
        )

    def __call__(self, *targets: str) -> None:
        command = ("nice", "-n", "15", "make", "-C", str(self._tree), *self._variables, *targets)
        _step(command, log=self._log, environment=self._environment)


def _step(command: tuple[str, ...], *, log: Path, environment: Mapping[str, str] | None = None) -> None:
    with open(log, "ab") as out:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT, env=environment
        )
        try:
            ends(process)
        finally:
            if process.poll() is None:
                process.terminate()
                process.wait()
    if process.returncode:
        words = [word for word in command if "=" not in word]
        raise LabError(f"building the kernel failed at {' '.join(words[-3:])}", f"See the end of {log}.")
