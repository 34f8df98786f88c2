"""The program: from arguments to a verb, from an error to two lines and an exit code.

Nothing heavy is imported up here: ``--version`` and completion answer before a parser is built.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

__all__ = ["main"]

INTERRUPTED = 130
"""128 and SIGINT, as shells count."""
PIPE_CLOSED = 141
"""128 and SIGPIPE."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code.

    0 done or proven; 1 refuted, different, or only partly achievable; 2 wrong use or unreadable input;
    3 unknown, facts missing; 4 refused for safety; 5 failed half-way and rolled back.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    if None in (sys.stdin, sys.stdout, sys.stderr):
        _open_what_is_closed()
    try:
        if arguments[:1] == ["--version"]:
            from atoll import __version__

            return _flushed(0, f"atoll {__version__}\n")
        return _flushed(_dispatch(arguments))
    except BrokenPipeError:
        _leave_output()
        return PIPE_CLOSED
    except KeyboardInterrupt as error:
        return _interrupted(error)


def _open_what_is_closed() -> None:
    """Have all three standard files, be it nothing: else the next file that is opened would be one of them."""
    import os

    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        if getattr(sys, name) is None:
            # The lowest number that is free is taken, hence this one.
            place = os.open(os.devnull, os.O_RDWR)
            assert place == number
            setattr(sys, name, os.fdopen(place, mode, closefd=False))


def _dispatch(arguments: list[str]) -> int:
    _collect_rarely()
    _be_told_how_children_end()
    from importlib import import_module

    from atoll.cli.parse import parse
    from atoll.errors import AtollError, InputError

    try:
        # A name from a record may hold what this terminal's encoding does not.
        if hasattr(sys.stdout, "reconfigure"):
            sys.stdout.reconfigure(errors="replace")
        verb, options = parse(arguments)
        if verb is None:
            return 0
        if options.verbose:
            from atoll.cli.log import show_log

            show_log()
        code: int = import_module(f"atoll.cli.{verb.module}").run(options)
        return code
    except AtollError as error:
        return _report(error.message, error.hint, error.exit_code)
    except KeyboardInterrupt:
        raise
    except OSError as error:
        if isinstance(error, BrokenPipeError) and _nobody_reads():
            raise
        place = f"{error.filename}: " if error.filename else ""
        return _report(f"{place}{error.strerror or error}", _os_hint(error), InputError.exit_code)


def _flushed(code: int, text: str = "") -> int:
    """Print a text after what still waits to be printed, and return the exit code: 2 where that fails."""
    try:
        print(text, end="", flush=True)
    except BrokenPipeError:
        raise
    except OSError as error:
        _leave_output()
        return _report(f"standard output: {error.strerror or error}", "write it elsewhere", 2)
    return code


def _interrupted(error: KeyboardInterrupt) -> int:
    from atoll.errors import Interrupted

    # A second interrupt comes in place of what the first one is told by.
    found: BaseException | None = error
    while found is not None and not isinstance(found, Interrupted):
        found = found.__context__
    return INTERRUPTED if found is None else _report(found.message, found.hint, found.exit_code)


def _collect_rarely() -> None:
    """Let a run make its classes and values, of which hardly any is in a cycle, without a search every few hundred.

    A host of 10,000 functions is some 400,000 of them. The interpreter's own last search, for what goes with the
    process anyway, is left out: it takes a tenth of the time of a small host.
    """
    import atexit
    import gc

    gc.set_threshold(500_000, 20, 50)
    atexit.register(gc.freeze)


def _be_told_how_children_end() -> None:
    """Undo that whoever started this process had it ignore SIGCHLD, which execve(2) keeps: the kernel then tells of no
    child how it ended (wait(2)), and a program that failed would look like one that did not."""
    import signal
    from contextlib import suppress

    # Whoever runs this in another thread than the main one keeps what he has set.
    with suppress(ValueError):
        if signal.getsignal(signal.SIGCHLD) is signal.SIG_IGN:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)


def _os_hint(error: OSError) -> str:
    import errno

    return {
        errno.ENOENT: "check the path",
        errno.EACCES: "run as a user who may read and write it, root for a live host",
        errno.EPERM: "run as root; a kernel that is locked down refuses it even then",
        errno.EISDIR: "name a file",
        errno.ENOSPC: "make room there, or write it elsewhere",
        errno.ENODEV: "the devices of a host: atoll show --host HOST",
        errno.EBUSY: "who has it: atoll show --host HOST",
    }.get(error.errno or 0, "")


def _report(message: str, hint: str, code: int) -> int:
    """Say what went wrong in one line, and in one more what to do."""
    from contextlib import suppress

    from atoll.report.printable import spelled

    with suppress(BrokenPipeError):
        sys.stdout.flush()
    for line in (f"atoll: {_line(message)}", f"  {_line(hint or 'see: atoll --help')}"):
        print(spelled(line, sys.stderr.encoding), file=sys.stderr)
    return code


_LONGEST = 1000
"""Characters of a line: what a message quotes may be a stranger's, and of any length."""


def _line(text: str) -> str:
    """Return a text as one line that does nothing to a terminal."""
    line = "".join(
        character if character.isprintable() else "?" for character in " ".join(text[: 2 * _LONGEST].split())
    )
    return line if len(line) <= _LONGEST else f"{line[:_LONGEST]}…"


def _nobody_reads() -> bool:
    """Whether it is our own output that nobody reads any more: of any other broken pipe somebody has to be told."""
    import select

    waiting = select.poll()
    for file in (sys.stdout, sys.stderr):
        try:
            waiting.register(file.fileno(), 0)
        except (OSError, ValueError):
            # In a test it is no file.
            continue
    return any(found & (select.POLLERR | select.POLLHUP) for _, found in waiting.poll(0))


def _leave_output() -> None:
    from atoll.cli.output import leave_output

    leave_output()
