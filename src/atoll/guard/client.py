"""Asking a holder: its state, its proof, and one's own devices.

::

    with Client() as holder:
        with holder.take("red") as space:           # an atoll.vfio.AddressSpace
            space.devices[0].region(0).read32(0)
"""

from __future__ import annotations

import errno
import socket
from typing import Any

from atoll.act.pace import Pace
from atoll.errors import AtollError, InputError, RefusedError
from atoll.guard.message import SCHEMA, SOCKET, Malformed, close_all, receive, send
from atoll.vfio.handover import receive as receive_space
from atoll.vfio.kernel import Kernel
from atoll.vfio.space import AddressSpace

__all__ = ["TAKE_SECONDS", "Client", "NotAnswered", "NotGranted"]

_SECONDS = 60.0
TAKE_SECONDS = 10.0
"""For how long devices are asked for that are not seen to be cut."""
_AGAIN_SECONDS = 0.05
_START = "start it: atoll hold SPEC; that tells where one runs whose socket was taken away"
_DIED = "it may have died: atoll recover tells, and mends that; then start it: atoll hold SPEC"


class NotGranted(AtollError):
    """The holder says no, with its reason."""

    exit_code = RefusedError.exit_code
    again = False
    """Whether it may be granted a moment later."""


class NotAnswered(NotGranted):
    """The holder does not say anything: it has ended, or is kept from it."""

    exit_code = 3
    """How things stand is not known."""


class Client:
    """A connection to a holder. Keep it as long as what was taken is used: the holder tells over it that it ends."""

    def __init__(self, path: str = f"/{SOCKET}", *, kernel: Kernel | None = None, pace: Pace | None = None) -> None:
        """Connect. Raises InputError where no holder listens; NotAnswered where too many wait for it for a minute."""
        self._kernel = kernel
        self.ending: float | None = None
        """For how many seconds the holder still waits; None as long as it has not told that it ends."""
        self.wanted: set[str] = set()
        """The devices that the kernel wants back, by address: it waits until they are closed."""
        self._unanswered = 0
        """Requests without an answer yet: where one was given up, its answer comes before that to the next."""
        self._connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        waiting = pace or Pace(interval_seconds=_AGAIN_SECONDS)
        try:
            self._connection.settimeout(_SECONDS)
            accepted = waiting.until(lambda: self._connected(path), seconds=_SECONDS)
        except OSError as error:
            self._connection.close()
            text = f"no holder answers at {path}: {error.strerror or error}"
            hint = _START
            if error.errno in (errno.EACCES, errno.EPERM):
                hint = "run as root, or as an owner whom its file names"
            elif error.errno == errno.ECONNREFUSED:
                # Who ends in good order takes its socket away.
                hint = _DIED
            raise InputError(text, hint=hint) from error
        if not accepted:
            self._connection.close()
            raise NotAnswered(f"the holder at {path} is kept busy: too many wait for it", hint="ask again, see its log")

    def _connected(self, path: str) -> bool:
        try:
            self._connection.connect(path)
        except BlockingIOError:
            # As many wait for it already as may (unix(7), listen(2)): this one is not among them.
            return False
        return True

    def fileno(self) -> int:
        """For waiting until the holder tells something: then call ``hear``."""
        return self._connection.fileno()

    def state(self) -> dict[str, Any]:
        """Return how the clusters stand that this user may know of."""
        return self._told("state", clusters=list)

    def proof(self) -> dict[str, Any]:
        """Return what the holder proves now."""
        return self._told("proof", verdict=str)

    def stop(self) -> float:
        """End the holder; return for how many seconds it waits for owners."""
        return float(self._told("stop", ending=float)["ending"])

    def take(self, of: str, *, seconds: float = TAKE_SECONDS, pace: Pace | None = None) -> AddressSpace:
        """Return a cluster's devices, or one device, by the cluster's name or the device's address.

        While one is not seen to be cut, as after a reset or on a busy host whose keeper has not come to look for a
        while, it is asked for again, for ``seconds``. Closing them here closes them for this process: the holder keeps
        them open. Raises NotGranted.
        """
        request = {"ask": "take", "of": of}
        found: list[tuple[dict[str, Any], tuple[int, ...]]] = []
        refused: list[NotGranted] = []

        def answered() -> bool:
            try:
                found.append(self._ask(request))
            except NotGranted as error:
                refused.append(error)
                return not error.again
            return True

        (pace or Pace(interval_seconds=_AGAIN_SECONDS)).until(answered, seconds=seconds)
        if not found:
            raise refused[-1]
        answer, descriptors = found[0]
        text = answer.get("handover")
        if not isinstance(text, str):
            close_all(descriptors)
            raise _senseless()
        return receive_space(text, descriptors, kernel=self._kernel)

    def hear(self) -> float | None:
        """Take what the holder tells by itself, into ``wanted`` and ``ending``; return ``ending``.

        Raises NotGranted where it has ended, or tells nothing for a minute; InputError where that makes no sense.
        """
        _, descriptors = self._receive()
        close_all(descriptors)
        return self.ending

    def close(self) -> None:
        """End the connection."""
        self._connection.close()

    def _told(self, ask: str, **parts: type) -> dict[str, Any]:
        """Ask, and return an answer that has these parts, each of its type."""
        answer, descriptors = self._ask({"ask": ask})
        close_all(descriptors)
        if answer.get("schema") != SCHEMA or any(not isinstance(answer.get(part), parts[part]) for part in parts):
            raise _senseless()
        return answer

    def _ask(self, request: dict[str, Any]) -> tuple[dict[str, Any], tuple[int, ...]]:
        try:
            send(self._connection, request)
        except OSError as error:
            raise _silent(error) from error
        self._unanswered += 1
        while True:
            answer, descriptors = self._receive()
            if "tell" not in answer and not self._unanswered:
                break
            close_all(descriptors)
        if not answer.get("ok"):
            close_all(descriptors)
            refused = NotGranted(str(answer.get("error")), hint=str(answer.get("hint", "")))
            refused.again = answer.get("again") is True
            raise refused
        return answer, descriptors

    def _receive(self) -> tuple[dict[str, Any], tuple[int, ...]]:
        try:
            answer, descriptors = receive(self._connection)
        except Malformed as error:
            raise InputError(f"the holder's answer: {error}", hint="it may be another program") from error
        except OSError as error:
            raise _silent(error) from error
        if answer is None:
            raise NotAnswered("the holder has ended", hint=_DIED)
        if "tell" not in answer:
            self._unanswered = max(0, self._unanswered - 1)
            return answer, descriptors
        match answer:
            case {"tell": "ending", "seconds": int() | float() as seconds}:
                self.ending = float(seconds)
            case {"tell": "wanted", "device": str() as device}:
                self.wanted.add(device)
            case _:
                close_all(descriptors)
                raise _senseless()
        return answer, descriptors

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def _senseless() -> InputError:
    return InputError("the holder's answer makes no sense", hint="holder and client must be the same atoll")


def _silent(error: OSError) -> NotAnswered:
    if isinstance(error, TimeoutError):
        text = f"the holder does not answer within {_SECONDS:g} s: a reset that does not end may keep it from that"
        return NotAnswered(text, hint="ask again, and see its log")
    return NotAnswered(f"the holder does not answer: {error.strerror or error}", hint="see its log")
