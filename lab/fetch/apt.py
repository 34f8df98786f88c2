"""apt with a state of its own: it resolves, downloads and verifies, and never sees the system's packages.

Runs with or without root. Of the system's configuration only how to reach the network is taken over (proxies,
certificates, retries): hooks and pins of the system stay out.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import urllib.parse
from dataclasses import dataclass
from pathlib import Path

from lab.errors import AbsentError, LabError
from lab.fetch.sources import Mirror

__all__ = ["Apt", "Package", "file_sha256"]

# What apt.conf(5) says about transport; everything else of the system's configuration is left out.
_TRANSPORT = (
    "Acquire::http",
    "Acquire::https",
    "Acquire::Check-",
    "Acquire::Retries",
    "Acquire::Force",
    "Acquire::By-",
)

_ABSENT_HINT = (
    "The mirror's index names a file that the mirror does not hold: it may be in the middle of an update. Try again"
    " later, or another mirror: ATOLL_LAB_MIRROR=URL."
)
_NETWORK_HINT = "Is there a network, and does `apt-get update` work here? Another mirror: ATOLL_LAB_MIRROR=URL."


@dataclass(frozen=True, slots=True)
class Package:
    """One Debian package as the signed index names it; ``size`` in bytes."""

    name: str
    version: str
    architecture: str
    file: str
    size: int
    sha256: str


class Apt:
    """A private apt for some suites and one architecture, in ``folder``."""

    def __init__(
        self, folder: Path, *, mirror: Mirror, suites: tuple[str, ...], architecture: str, pins: tuple[str, ...] = ()
    ) -> None:
        self._folder = folder
        self._architecture = architecture
        for part in ("etc/sources.d", "lists/partial", "archives/partial", "plan/partial"):
            (folder / part).mkdir(parents=True, exist_ok=True)
        (folder / "status").write_text("")
        signed = f"Signed-By: {mirror.signed_by}\n" if mirror.signed_by else ""
        (folder / "etc/sources.d/lab.sources").write_text(
            f"Types: deb\nURIs: {mirror.uri}\nSuites: {' '.join(suites)}\nComponents: main\n"
            f"Architectures: {architecture}\n{signed}"
        )
        (folder / "etc/preferences").write_text("\n".join(pins))
        (folder / "apt.conf").write_text(self._configuration())

    def _configuration(self) -> str:
        folder, architecture = self._folder, self._architecture
        settings = {
            "Dir::Etc": folder / "etc",
            "Dir::Etc::Main": "/dev/null",
            "Dir::Etc::Parts": "/dev/null",
            "Dir::Etc::SourceList": "/dev/null",
            "Dir::Etc::SourceParts": folder / "etc/sources.d",
            "Dir::Etc::Preferences": folder / "etc/preferences",
            "Dir::Etc::PreferencesParts": "/dev/null",
            "Dir::Etc::Trusted": "/etc/apt/trusted.gpg",
            "Dir::Etc::TrustedParts": "/etc/apt/trusted.gpg.d",
            "Dir::State": folder,
            "Dir::State::Lists": folder / "lists",
            "Dir::State::status": folder / "status",
            "Dir::Cache": folder,
            "Dir::Cache::Archives": folder / "archives",
            "Dir::Log": folder,
            "APT::Architecture": architecture,
            "APT::Install-Recommends": "false",
            # Larger than the index itself, and hardly faster.
            "Dir::Cache::pkgcache": "",
            "Dir::Cache::srcpkgcache": "",
            # As root apt would download as another user, who cannot write here.
            "APT::Sandbox::User": "",
            "Acquire::Languages": "none",
            "Acquire::GzipIndexes": "true",
            "Acquire::IndexTargets::deb::DEP-11::DefaultEnabled": "false",
            "Acquire::Retries": "3",
        }
        lines = [f'{name} "{value}";' for name, value in settings.items()]
        lines.append(f'#clear APT::Architectures;\nAPT::Architectures {{ "{architecture}"; }};')
        return "\n".join(lines + _system_transport()) + "\n"

    def update(self) -> None:
        """Fetch the index; raises `LabError` where the mirror cannot be reached or the signature is wrong."""
        self._run("apt-get", "-qq", "update", "-o", "APT::Update::Error-Mode=any")

    def resolve(self, *names: str) -> list[Package]:
        """The packages with all that they depend on."""
        planned = self._print_uris("install", "-y", "-o", f"Dir::Cache::Archives={self._folder / 'plan'}", *names)
        # `install` prints the index's first hash, which may be MD5; `download` prints the strongest.
        return self.locate(*(f"{name}={version}" for name, version, _ in (_split(words[1]) for words in planned)))

    def locate(self, *names: str) -> list[Package]:
        """The packages themselves; ``name/suite`` takes that suite's version."""
        packages = []
        for words in self._print_uris("download", *names):
            file, size, digest = words[1:]
            kind, _, value = digest.partition(":")
            if kind != "SHA256":
                raise LabError(f"{file}: the index has {kind}, no SHA-256", "Use another mirror: ATOLL_LAB_MIRROR=URL.")
            packages.append(Package(*_split(file), file, int(size), value))
        return sorted(packages, key=lambda package: package.name)

    def depends(self, name: str) -> list[str]:
        """What the package (``name/suite``) depends on directly, first alternatives only."""
        for line in self._run("apt-cache", "show", "--no-all-versions", name).splitlines():
            if line.startswith("Depends:"):
                return [word.split()[0] for word in line.removeprefix("Depends:").split(",")]
        return []

    def names(self, prefix: str) -> list[str]:
        """The packages of the index whose names begin so."""
        return self._run("apt-cache", "pkgnames", prefix).split()

    def download(self, packages: list[Package], pool: Path) -> None:
        """Put the packages' files into ``pool``.

        Raises `AbsentError` where the mirror does not hold one, `LabError` unless each SHA-256 is the index's.
        """
        missing = [
            package
            for package in packages
            if not (pool / package.file).exists() or file_sha256(pool / package.file) != package.sha256
        ]
        if not missing:
            return
        incoming = self._folder / "incoming"
        incoming.mkdir(exist_ok=True)
        self._run(
            *("apt-get", "-qq", "download", *(f"{package.name}={package.version}" for package in missing)),
            cwd=incoming,
        )
        for package in missing:
            arrived = incoming / package.file
            found = file_sha256(arrived)
            if found != package.sha256:
                arrived.unlink()
                raise LabError(
                    f"{package.file}: SHA-256 is {found}, the signed index says {package.sha256}",
                    "The mirror or a proxy changed the file; try again, or another mirror: ATOLL_LAB_MIRROR=URL.",
                )
            arrived.rename(pool / package.file)

    def _print_uris(self, *arguments: str) -> list[list[str]]:
        """The lines of ``--print-uris``: 'URI' FILE SIZE KIND:HASH."""
        lines = self._run("apt-get", "-qq", "--print-uris", *arguments).splitlines()
        return [line.rsplit(" ", 3) for line in lines if line.startswith("'")]

    def _run(self, *command: str, cwd: Path | None = None) -> str:
        environment = {**os.environ, "APT_CONFIG": str(self._folder / "apt.conf"), "LC_ALL": "C.UTF-8"}
        try:
            done = subprocess.run(
                command, env=environment, cwd=cwd, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL
            )
        except FileNotFoundError as error:
            raise LabError(
                f"{command[0]} is not here", "The lab fetches from Debian with apt: it needs a Debian system."
            ) from error
        if done.returncode:
            complaints = [line for line in (done.stderr + done.stdout).splitlines() if line.startswith(("E:", "W:"))]
            said = complaints[0] if complaints else f"exit code {done.returncode}"
            what = f"{' '.join(command[:3])}: {said}"
            raise AbsentError(what, _ABSENT_HINT) if "404 " in said else LabError(what, _NETWORK_HINT)
        return done.stdout


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file, in hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _split(file: str) -> tuple[str, str, str]:
    """Name, version and architecture from NAME_VERSION_ARCHITECTURE.deb, in which apt escapes the version's colon."""
    name, version, architecture = file.removesuffix(".deb").split("_")
    return name, urllib.parse.unquote(version), architecture


def _system_transport() -> list[str]:
    """The lines of ``apt-config dump`` about how to reach mirrors, or nothing where apt has none."""
    try:
        dump = subprocess.run(("apt-config", "dump"), capture_output=True, text=True, check=False).stdout
    except FileNotFoundError:
        return []
    return [line for line in dump.splitlines() if line.startswith(_TRANSPORT)]
