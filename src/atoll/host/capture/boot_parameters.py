"""Boot parameters that tell addresses, names and secrets, found and replaced in a kernel's command line.

Sources: dracut.cmdline(7), Linux ``Documentation/admin-guide/nfs/nfsroot.rst``, systemd's kernel-command-line(7).
"""

from __future__ import annotations

import re
from collections.abc import Callable

from atoll.host.capture.replacement import Kind, Replacements

__all__ = ["redact_command_line"]

_ADDRESSES = ("ip", "nameserver", "nfsroot", "nfsaddrs", "netroot", "ifname", "bootdev", "vlan", "bond", "netconsole")
_NAMES = ("hostname", "systemd.hostname", "systemd.machine_id", "BOOTIF", "BOOT_IMAGE_HOST", "ds", "url", "inst.ks")
_PARAMETERS = frozenset((*_ADDRESSES, *_NAMES))
_PARAMETER_STARTS = (
    *("rd.iscsi", "iscsi_", "rd.nvmf", "rd.luks.key", "rd.zfcp", "rd.znet", "rd.route", "rd.peerdns"),
    *("systemd.set_credential", "systemd.setenv", "ignition.", "rootpw"),
)
_REMOTE_ROOT = ("nfs", "nbd", "iscsi", "fcoe", "virtiofs", "cifs")
"""How the value of ``root=`` begins where it names another machine."""
_WORDS = re.compile(r'(?:[^ "]|"[^"]*"?)+| +')
"""Parameters, and the blanks between them: those between quotes belong to a value (``next_arg``, lib/cmdline.c)."""


def redact_command_line(text: str, replaced: Replacements, others: Callable[[str], str]) -> str:
    """Return a command line with the values of such parameters replaced; ``others`` redacts all else in it."""
    return "".join(_redact_parameter(word, replaced, others) for word in _WORDS.findall(text))


def _redact_parameter(word: str, replaced: Replacements, others: Callable[[str], str]) -> str:
    key, equals, value = word.partition("=")
    key, bare = key.removeprefix('"'), value.strip()
    told = key in _PARAMETERS or key.startswith(_PARAMETER_STARTS) or "://" in bare
    if equals and bare and (told or (key == "root" and bare.startswith(_REMOTE_ROOT))):
        return f"{key}={value.replace(bare, replaced.word(Kind.BOOT_PARAMETER, bare, 'value'))}"
    return others(word)
