"""A capture as people and programs are told of it: what it holds, what it lacks, what was replaced."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from atoll.host.capture.collector import Missing
from atoll.host.capture.manifest import Manifest, to_document
from atoll.host.gap import Gap
from atoll.report.document import document
from atoll.report.layout import columns, indent, plural, wrap
from atoll.report.quantity import size
from atoll.report.style import Style

__all__ = ["capture_document", "capture_lines"]

_SHOWN = 8


def capture_document(file: str, count: int, manifest: Manifest) -> dict[str, Any]:
    """Return the manifest, with the file and its size in bytes."""
    return document(
        "capture", file=file, size=count, **{k: v for k, v in to_document(manifest).items() if k != "schema"}
    )


def capture_lines(
    file: str, count: int, manifest: Manifest, gaps: Sequence[Gap], *, style: Style, verbose: bool
) -> list[str]:
    """Return what the archive holds; then everything that it does not."""
    kernel = f"Linux {manifest.kernel}, " if manifest.kernel else ""
    groups = "" if manifest.groups is None else f", {plural(manifest.groups, 'IOMMU group')}"
    lines = [
        f"{style.bold(file)}: {manifest.source}, {kernel}{plural(manifest.functions, 'function')}{groups}; "
        f"{plural(manifest.files, 'file')} and {plural(manifest.links, 'link')} in {size(count)}"
    ]
    if verbose:
        lines += ["", *indent(columns([[name, str(number)] for name, number in manifest.sections], right=[1]))]
    lines += _missing(manifest, gaps, style, verbose=verbose)
    if manifest.changed:
        lines += ["", style.doubtful("Not the same in the capture: the host changed while it was taken")]
        lines += _listed(manifest.changed, verbose=verbose)
    lines += _redacted(manifest, style)
    example = "DIR/sys/bus/pci"
    lines += ["", *wrap(f"Look: atoll show --host {file}")]
    return [*lines, *wrap(f"Unpacked into DIR it is a host folder, for lspci -O sysfs.path={example} too.")]


def _missing(manifest: Manifest, gaps: Sequence[Gap], style: Style, *, verbose: bool) -> list[str]:
    lines: list[str] = []
    for head, found in (("Not read", manifest.missing), ("Over a limit", manifest.limited)):
        if found:
            told = [f"{entry.path}: {entry.reason}" for entry in found] if verbose else _together(found)
            lines += ["", style.doubtful(head), *_listed(told, verbose=verbose)]
    if gaps:
        lines += ["", style.doubtful("What it does not tell")]
        lines += _listed([f"{gap.what}: {gap.why}" for gap in gaps], verbose=verbose)
    return lines


def _together(found: Sequence[Missing]) -> list[str]:
    """One line for all files of a name that lack for one reason."""
    by_cause: dict[tuple[str, str], list[str]] = {}
    for entry in found:
        by_cause.setdefault((entry.path.rpartition("/")[2], entry.reason), []).append(entry.path)
    return [
        f"{paths[0] if len(paths) == 1 else f'{name} of {len(paths)} ({paths[0]} first)'}: {reason}"
        for (name, reason), paths in by_cause.items()
    ]


def _listed(found: Sequence[str], *, verbose: bool) -> list[str]:
    shown = found if verbose else found[:_SHOWN]
    lines = [line for text in shown for line in wrap(text, first="  - ")]
    more = len(found) - len(shown)
    return [*lines, f"  and {more} more, with -v"] if more else lines


def _redacted(manifest: Manifest, style: Style) -> list[str]:
    if manifest.redactions is None:
        return []
    told = ", ".join(
        f"{plural(r.values, r.kind, _plural(r.kind))} in {plural(r.places, 'place')}" for r in manifest.redactions
    )
    lines = ["", *wrap(f"Replaced: {told or 'nothing, no identifier was found'}.")]
    if not manifest.host_name_known:
        why = "the record does not tell the host's name, so it was not looked for"
        lines += wrap(f"{style.doubtful('Not replaced')}: {why}.")
    return lines


def _plural(kind: str) -> str:
    if kind.endswith("without a device"):
        return "mounts without a device"
    return kind + ("es" if kind.endswith("s") else "s")
