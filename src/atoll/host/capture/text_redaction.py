"""What identifies a machine or its owner, found and replaced in texts.

UUIDs, MAC addresses, disk identifiers, serial numbers beside their names, and the host's name.
"""

from __future__ import annotations

import re

from atoll.host.capture.boot_parameters import redact_command_line
from atoll.host.capture.identifiers import ATTRIBUTE, FORMS, HOST_NAMES, KEYED, NODE_NAME, PROMPT, TAG, WHOLE_LINE
from atoll.host.capture.replacement import Kind, Replacements

__all__ = ["TextRedactor"]

_NO_NAME = frozenset({"localhost", "none", "unknown", "n", "null"})
_COMMAND_LINE = "ommand line: "
"""``Command line:`` and ``Kernel command line:`` in a kernel's log."""
_KFD = ("unique_id", "hive_id")
"""In the KFD topology of AMD's driver: a GPU's serial number, and one of its hive's members."""
_NONE = frozenset({"", "n/a", "[n/a]", "0", "none", "unknown", "<none>", "not specified"})


class TextRedactor:
    """Finds identifiers in texts and replaces them. ``replaced`` tells how many of which kind."""

    def __init__(self, secret: bytes, *, host_name: str = "") -> None:
        self.replaced = Replacements(secret)
        names = sorted({host_name, host_name.partition(".")[0]} - {"", "localhost"}, key=len, reverse=True)
        # LVM doubles dashes in the names that it makes for the device mapper.
        words = "|".join(re.escape(name).replace("\\-", "--?") for name in names)
        self.knows_host_name = bool(words)
        """Whether the host's name is known, so that it can be found."""
        # One pass: a replacement is never replaced again.
        self._forms = re.compile(FORMS)
        self._all = (
            re.compile(rf"{FORMS}|(?P<host>(?<![0-9A-Za-z])(?i:{words})(?![0-9A-Za-z]))") if words else self._forms
        )

    def text(self, text: str) -> str:
        """Return a text with every identifier replaced that shows by its form, and the host's name."""
        return self._all.sub(self._found, text)

    def forms(self, text: str) -> str:
        """Return a text with every identifier replaced that shows by its form: all that a kernel's own words need."""
        return self._forms.sub(self._found, text)

    def command_line(self, text: str) -> str:
        """Return a kernel's command line with all that tells of the machine replaced."""
        return redact_command_line(text, self.replaced, self.text)

    def _found(self, found: re.Match[str]) -> str:
        """Replace what one of the forms matched: the outermost group tells which."""
        whole = found[0]
        match found.lastgroup:
            case "disk":
                return self.replaced.word(Kind.DISK, whole, "disk")
            case "user":
                return self.replaced.word(Kind.USER, whole, "user")
            case "uuid" | "short_uuid":
                return self.replaced.hex(Kind.UUID, whole)
            case "interface":
                return whole[:3] + self.replaced.mac(whole[3:])
            case "from_mac":
                return self.replaced.hex(Kind.DEVICE_SERIAL, ":".join(part.zfill(4) for part in whole.split(":")))
            case "gid":
                return whole[:20] + self.replaced.hex(Kind.DEVICE_SERIAL, whole[20:])
            case "bare":
                return whole[:-12] + self.replaced.mac(whole[-12:])
            case "pairs" | "quads":
                return self.replaced.pairs(whole)
        return self._host(whole)

    def _host(self, name: str) -> str:
        return self.replaced.word(Kind.HOST_NAME, name.lower().replace("--", "-"), "host")

    def record(self, text: str) -> str:
        """Return a record's text with what stands beside the names of identifiers replaced too."""
        text = PROMPT.sub(lambda found: found[1] + self.replaced.word(Kind.USER, found[2], "user"), text)
        text = self._named_hosts(text)
        return self.text(self._tables("".join(map(self._line, text.splitlines(keepends=True)))))

    def _named_hosts(self, text: str) -> str:
        """Replace the names of hosts that a text tells itself, wherever they stand in it."""
        told = {name for found in HOST_NAMES.finditer(text) for name in found.groups() if name}
        names = {part for name in told for part in (name, name.partition(".")[0]) if part.lower() not in _NO_NAME}
        if not names:
            return text
        words = "|".join(re.escape(name) for name in sorted(names, key=len, reverse=True))
        return re.sub(rf"(?<![0-9A-Za-z])(?i:{words})(?![0-9A-Za-z])", lambda found: self._host(found[0]), text)

    def _line(self, line: str) -> str:
        """Replace the value of ``… Serial Number : VALUE``, ``<serial>VALUE</serial>``, ``unique_id VALUE``."""
        for named in (TAG, ATTRIBUTE):
            line = named.sub(self._named, line)
        line = NODE_NAME.sub(self._named, line)
        key, colon, value = line.partition(":")
        if colon and key.strip().lower().endswith(WHOLE_LINE):
            return f"{key}:{self.padded(value)}"
        head, found, parameters = line.partition(_COMMAND_LINE)
        if found:
            return head + found + self.command_line(parameters)
        line = KEYED.sub(self._named, line)
        key, blank, value = line.partition(" ")
        return f"{key} {self.padded(value)}" if blank and key in _KFD else line

    def _named(self, found: re.Match[str]) -> str:
        """Replace the second group: what stands behind a name. A closing tag stays."""
        return found[1] + self._serial(found[2]) + "".join(found.groups()[2:])

    def _tables(self, text: str) -> str:
        """Replace the column ``serial`` of a table with commas."""
        lines = text.splitlines(keepends=True)
        head = [cell.strip().lower() for cell in lines[0].split(",")] if lines else []
        columns = [at for at, cell in enumerate(head) if "serial" in cell] if len(head) > 1 else []
        for at, line in enumerate(lines[1:] if columns else (), start=1):
            cells = line.split(",")
            if len(cells) == len(head):
                lines[at] = ",".join(self.padded(cell) if n in columns else cell for n, cell in enumerate(cells))
        return "".join(lines)

    def padded(self, value: str) -> str:
        """Replace a serial number between blanks, which stay."""
        bare = value.strip()
        head, _, tail = value.partition(bare) if bare else (value, "", "")
        return head + self._serial(bare) + tail

    def _serial(self, value: str) -> str:
        bare = value.strip()
        if bare.lower() in _NONE or self._forms.fullmatch(bare):
            return value
        if bare.isdigit():
            return self.replaced.digits(Kind.SERIAL, bare)
        number = bare.removeprefix("0x")
        if number != bare and all(digit in "0123456789abcdefABCDEF" for digit in number):
            return f"0x{self.replaced.hex(Kind.DEVICE_SERIAL, number)}"
        return self.replaced.word(Kind.SERIAL, bare, "serial")
