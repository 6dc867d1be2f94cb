"""The text protocol's replies in the words and lines that people are shown, made from those that programs get.

Runs in the front. Pure.
"""

from collections.abc import Iterable
from typing import Any

from front_proc.languages.text_safe import safe_words


def one_a_line(names: list[str]) -> Iterable[str]:
    """A list."""
    return names or ["none"]


def explained(rows: dict[str, str]) -> Iterable[str]:
    """The commands and what they do."""
    width = max(map(len, rows))
    return [f"{syntax:<{width}}  {text}" for syntax, text in rows.items()]


def status_lines(report: dict[str, Any]) -> Iterable[str]:
    """The daemon, its resources, its clients."""
    up = f"up {report['uptime_s']:.0f} s, {report['clients']} clients"
    state = "" if report["state"] == "serving" else f", {report['state']}"
    yield f"version {report['version']}, pid {report['pid']}, {up}{state}"
    for row in report["resources"]:
        process = f"pid {row['pid']}, {row['memory_mb']} MB" if row["pid"] else "no process"
        names = " = ".join([row["resource"], *row["aliases"]])
        yield (
            f"{names}: {row['state']}, {process}, {row['sessions']} sessions, {row['queued']} queued, "
            f"{row['restarts']} restarts"
            + _session_words("executes a {operation} of", row["running"])
            + _session_words("awaits the read of", row["hold"])
            + _lock_words(row["lock"])
            + safe_words(row["safe"])
            + (f"; {row['last_error']}" if row["last_error"] else "")
            + (f" -> {row['remedy']}" if row["remedy"] else "")
        )
    for row in report["connections"]:
        name = f" {row['name']}" if row["name"] else ""
        opened = ", ".join(row["open"]) or "nothing open"
        yield f"client {row['client']}{name}: {row['language'] or 'nothing said'}, {opened}"


def _session_words(what: str, row: dict[str, Any] | None) -> str:
    if row is None:
        return ""
    who = " ".join(filter(None, (row["client"], row["name"])))
    return f", {what.format_map(row)} {who} for {row['for_s']:.1f} s"


def _lock_words(lock: dict[str, Any] | None) -> str:
    if lock is None:
        return ""
    holders = ", ".join(map(_holder_words, lock["holders"]))
    waiters = ", ".join(" ".join(filter(None, (row["client"], row["name"]))) for row in lock["waiters"])
    return f", {lock['kind']} lock of {holders}" + (f" ({lock['waiting']} wait: {waiters})" if waiters else "")


def _holder_words(row: dict[str, Any]) -> str:
    who = " ".join(filter(None, (row["client"], row["name"])))
    reason = f" ({row['reason']})" if row["reason"] else ""
    left = "" if row["left_s"] is None else f", {row['left_s']:.0f} s left"
    return f"{who}{reason} for {row['held_s']:.0f} s{left}"
