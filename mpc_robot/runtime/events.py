"""What happened and why: the log of everything but ordinary ticks."""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass

KINDS = 256
"""Kinds of events that are counted apart; reasons that hold numbers would be ever new ones."""


@dataclass(frozen=True)
class Event:
    """Something that happened.

    Attributes:
        stamp: when, s on the plant's clock.
        name: what, such as ``fault``, ``trip``, ``recovered``, ``limited``.
        reason: why.
    """

    stamp: float
    name: str
    reason: str


class EventLog:
    """The newest events, and how many there were of each kind since the start.

    Attributes:
        counts: events by ``name: reason``, or ``name: others`` once there are too many reasons.
    """

    def __init__(self, keep: int = 1_000) -> None:
        """Keep so many."""
        self.counts: Counter[str] = Counter()
        self._newest: deque[Event] = deque(maxlen=keep)
        self._unread: deque[Event] = deque(maxlen=keep)
        self._going_on: set[tuple[str, str]] = set()

    def add(self, stamp: float, name: str, reason: str) -> None:
        """Something happened."""
        event = Event(stamp, name, reason)
        kind = f"{name}: {reason}"
        known = kind in self.counts or len(self.counts) < KINDS
        self.counts[kind if known else f"{name}: others"] += 1
        self._newest.append(event)
        self._unread.append(event)

    def during(self, stamp: float, name: str, reasons: set[str]) -> None:
        """Log each of ``reasons`` where it begins; what goes on from tick to tick is one event."""
        now = {(name, reason) for reason in reasons}
        before = {one for one in self._going_on if one[0] == name}
        for _, reason in sorted(now - before):
            self.add(stamp, name, reason)
        self._going_on = (self._going_on - before) | now

    def take(self) -> list[Event]:
        """The events since this was asked last."""
        taken = list(self._unread)
        self._unread.clear()
        return taken

    @property
    def newest(self) -> tuple[Event, ...]:
        """The last of them, oldest first."""
        return tuple(self._newest)
