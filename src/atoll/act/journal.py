"""The journal: what was intended, found and left, step by step; written before each write, on the machine itself.

One JSON object a line: ``step`` (as in a plan), ``state`` (``intended``, then ``done``), ``before`` (what was found,
with the device's fingerprint) and ``after`` (what was read back). Steps that were undone are taken out again, so that
what stands in it is what ``release`` has to give back, and what a crash may have left half done.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from enum import StrEnum

from atoll.act.failure import Failure
from atoll.act.machine import Machine
from atoll.act.site import State
from atoll.errors import InputError
from atoll.plan.document import step_from_document, step_to_document
from atoll.plan.step import Step

__all__ = ["PATH", "Entry", "EntryState", "Journal", "read_journal"]

PATH = "var/lib/atoll/journal.jsonl"
_HINT = f"look at {PATH} on that machine; what it says is needed to give devices back"


class EntryState(StrEnum):
    """How far a step got."""

    INTENDED = "intended"
    """Its writes may have happened, or some of them."""
    DONE = "done"
    """It was carried out and read back."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One step in the journal."""

    step: Step
    state: EntryState
    before: State
    after: State = field(default_factory=dict)


class Journal:
    """The journal of one machine. Every change is on the machine before the method returns."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self._entries = list(read_journal(machine))

    @property
    def entries(self) -> tuple[Entry, ...]:
        """All entries, oldest first."""
        return tuple(self._entries)

    def intend(self, step: Step, before: State) -> Entry:
        """Note what is about to be done, and what was found."""
        entry = Entry(step, EntryState.INTENDED, before)
        self._entries.append(entry)
        self._write()
        return entry

    def complete(self, entry: Entry, after: State) -> Entry:
        """Note that it was done and what was read back."""
        done = replace(entry, state=EntryState.DONE, after=after)
        self._entries[self._entries.index(entry)] = done
        self._write()
        return done

    def forget(self, entries: Iterable[Entry]) -> None:
        """Take out what was undone."""
        gone = {id(entry) for entry in entries}
        self._entries = [entry for entry in self._entries if id(entry) not in gone]
        self._write()

    def _write(self) -> None:
        lines = (json.dumps(_to_document(entry), ensure_ascii=False) + "\n" for entry in self._entries)
        try:
            self._machine.write(PATH, "".join(lines).encode())
        except OSError as error:
            raise Failure(f"{PATH}: {error.strerror or error}", hint="nothing is done without a journal") from error


def read_journal(machine: Machine) -> tuple[Entry, ...]:
    """Return the entries of a machine's journal, none where there is none. Raises InputError for a damaged one."""
    try:
        text = machine.read(PATH).decode("utf-8", "replace")
    except FileNotFoundError:
        return ()
    except OSError as error:
        raise InputError(f"{PATH}: {error.strerror or error}", hint=_HINT) from error
    lines = text.split("\n")
    # A last line without its end was being written when the machine stopped: the write it announces never came.
    return tuple(_from_line(line, number) for number, line in enumerate(lines[:-1], start=1) if line.strip())


def _to_document(entry: Entry) -> dict[str, object]:
    return {
        "step": step_to_document(entry.step),
        "state": entry.state.value,
        "before": entry.before,
        "after": entry.after,
    }


def _from_line(line: str, number: int) -> Entry:
    name = f"{PATH}:{number}"
    try:
        found = json.loads(line)
        before, after = found["before"], found["after"]
        state = EntryState(found["state"])
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise InputError(f"{name}: damaged: {error}", hint=_HINT) from error
    if not _is_state(before) or not _is_state(after) or "fingerprint" not in before:
        raise InputError(f"{name}: damaged: before and after are no states", hint=_HINT)
    return Entry(step_from_document(found["step"], name), state, before, after)


def _is_state(value: object) -> bool:
    if not isinstance(value, dict):
        return False
    return all(
        item is None
        or isinstance(item, str | int)
        or (isinstance(item, list) and all(isinstance(part, str | int) for part in item))
        for item in value.values()
    )
