"""``atoll twin peek`` and ``poke``: a register, behind everyone's back."""

from __future__ import annotations

import argparse
from pathlib import Path

from atoll.cli.addresses import address_of
from atoll.cli.output import say
from atoll.cli.session import changing_twin, load_twin
from atoll.errors import InputError
from atoll.report.document import document

__all__ = ["run"]


def run(options: argparse.Namespace) -> int:
    """Read 32 bits and print them in hexadecimal, or write them."""
    writing = options.verb == "twin poke"
    space, offset, value = _access(options.config, options.bar0, writing=writing)
    path, device = Path(options.file), address_of(options.device)
    if value is None:
        found = load_twin(path).peek(device, space, offset)
    else:
        with changing_twin(path) as twin:
            twin.poke(device, space, offset, value)
            found = twin.peek(device, space, offset)
    say(
        options,
        lambda: document(
            options.verb,
            file=str(path),
            device=str(device),
            space=space,
            offset=f"{offset:#x}",
            **({} if value is None else {"written": f"{value:#010x}"}),
            value=f"{found:#010x}",
        ),
        lambda style: [f"{found:#010x}" if value is None else f"{value:#010x} written, reads back {found:#010x}"],
    )
    return 0


def _access(config: str | None, bar0: str | None, *, writing: bool) -> tuple[str, int, int | None]:
    """Return where to look and what to write there."""
    verb = "poke" if writing else "peek"
    if (config is None) == (bar0 is None):
        raise InputError(f"{verb} takes one of --config and --bar0", hint=f"see: atoll twin {verb} --help")
    space = "config" if bar0 is None else "bar0"
    where, equals, what = (config or bar0 or "").partition("=")
    if bool(equals) != writing:
        form = "OFF=VALUE" if writing else "OFF"
        raise InputError(f"{verb} takes --{space} {form}, not {where}{equals}{what}", hint="peek reads, poke writes")
    offset = _number(where)
    if offset % 4 or offset < 0:
        raise InputError(f"offset {where} is not that of a 32-bit register", hint="give a multiple of 4")
    value = _number(what) if writing else None
    if value is not None and not 0 <= value <= 0xFFFFFFFF:
        raise InputError(f"{what} does not fit 32 bits", hint="give 0 to 0xffffffff")
    return space, offset, value


def _number(text: str) -> int:
    try:
        return int(text, 0)
    except ValueError as error:
        raise InputError(f"not a number: {text!r}", hint="decimal, or hexadecimal with 0x") from error
