"""Commands whose velocity, acceleration and jerk are limited, whatever is asked for.

A command moves by ticks: ``v += a``, then ``u += v``, where ``a`` changes by at most the jerk. The
fastest stop brakes harder each tick, holds the hardest, and eases off so that velocity and
acceleration vanish together. After every command that is sent, this stop stays within all limits;
so there is always a command that may follow. Where the stop ends is known in closed form, and what
is sent next is the command whose stop ends where it should. All formulas are per tick, not per s.

The invariant holds by induction. An acceleration above that of the stop only raises the motion, so
it can break no lower limit before it comes to rest, and where it comes to rest is checked; below
likewise. Nor can it break the limit of the velocity: what easing off leads to is checked, too.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
import numpy.typing as npt

from mpc_robot.errors import require

Floats = npt.NDArray[np.float64]
# Weights of the least acceleration, the stop's and the greatest, for five in ascending order.
SPREAD = np.array([[1, 0, 0], [0.5, 0.5, 0], [0, 1, 0], [0, 0.5, 0.5], [0, 0, 1]])


@dataclass(frozen=True, eq=False)
class CommandLimits:
    """What the commands of ``A`` actuators may do; each ``[A]``, or one number for all of them.

    Attributes:
        low: least command, in the units of the actuators (N·m, rad, ...).
        high: greatest command.
        velocity: greatest change of the command per s.
        acceleration: greatest change of its velocity per s.
        jerk: greatest change of its acceleration per s.
    """

    low: npt.ArrayLike
    high: npt.ArrayLike
    velocity: npt.ArrayLike = np.inf
    acceleration: npt.ArrayLike = np.inf
    jerk: npt.ArrayLike = np.inf

    def __post_init__(self) -> None:
        """Raises: ValueError: naming the field, if a limit makes no sense."""
        low, high = np.asarray(self.low, float), np.asarray(self.high, float)
        require(bool(np.isfinite(low).all()), "low", "finite numbers", self.low)
        require(bool(np.isfinite(high).all()), "high", "finite numbers", self.high)
        for name in ("velocity", "acceleration", "jerk"):
            limit = getattr(self, name)
            require(bool((np.asarray(limit, float) > 0).all()), name, "positive", limit)
        shapes = {np.shape(getattr(self, field.name)) for field in fields(self)} - {()}
        known = len(shapes) < 2 and all(len(shape) == 1 for shape in shapes)
        require(known, "limits", "numbers, or arrays [A] of one length", sorted(shapes))
        require(bool((low < high).all()), "high", f"above low, {self.low!r}", self.high)


class CommandLimiter:
    """Sends what is asked for, or what comes nearest to it within the limits.

    What moves within the limits, and can stop within them, passes unchanged. Otherwise the command
    hurries to where what is asked for would itself come to rest: steps are reached exactly and
    without overshoot, what moves is caught up with. (A step of at most ``jerk * dt**3`` looks
    like the beginning of a move, and may be overshot by as much.) Where something else than a
    finite number is asked for, the actuator stops.

    Attributes:
        dt: time from one command to the next, s.
    """

    _asked: Floats  # what was asked for in the last five ticks, [5, A]
    _sent: Floats  # command, velocity and acceleration now, [3, 1, A]

    def __init__(self, limits: CommandLimits, dt: float, start: npt.ArrayLike) -> None:
        """Begin at rest.

        Args:
            limits: what commands may do.
            dt: time from one command to the next, s.
            start: the command ``[A]`` to begin at.

        Raises:
            ValueError: if ``dt`` or ``start`` makes no sense, or ``limits`` are not of ``A``.
        """
        require(bool(np.isfinite(dt)) and dt > 0, "dt", "a positive number", dt)
        self.dt = dt
        size = np.shape(start)
        require(len(size) == 1, "start", "an array [A]", start)
        for field in fields(limits):
            shape = np.shape(getattr(limits, field.name))
            require(shape in ((), size), field.name, f"a number or an array {size}", shape)
        self._low, self._high, velocity, acceleration, jerk = (
            np.array(np.broadcast_to(getattr(limits, field.name), size), float)
            for field in fields(limits)
        )
        # No move within the range needs more than these, so that all of them are finite.
        self._velocity: Floats = np.minimum(velocity * dt, self._high - self._low)
        self._acceleration: Floats = np.minimum(acceleration * dt**2, 2.0 * self._velocity)
        self._jerk: Floats = np.minimum(jerk * dt**3, 2.0 * self._acceleration)
        self._cruise = np.array([-self._velocity, np.zeros(size), self._velocity])
        ulp = np.spacing(np.maximum(np.abs(self._low), np.abs(self._high)))
        self._tiny = 1e-10 * self._jerk + 8.0 * ulp
        self._rest_at(start, "start")

    @property
    def command(self) -> Floats:
        """The last command ``[A]``; at first the one to start from."""
        return np.array(self._sent[0, 0])

    @property
    def still(self) -> bool:
        """Whether the command is at rest: it stays as it is until another is asked for."""
        return not self._sent[1:].any()

    def reset(self, command: npt.ArrayLike) -> None:
        """Be at rest at ``command`` ``[A]``.

        Raises:
            ValueError: if it is not ``[A]`` or not within ``low`` and ``high``.
        """
        self._rest_at(command, "command")

    def filter(self, wanted: npt.ArrayLike) -> Floats:
        """The command ``[A]`` to send now that ``wanted`` ``[A]`` is asked for.

        Raises:
            ValueError: if ``wanted`` is not ``[A]``; nothing is sent then.
        """
        wanted = self._checked(wanted, "wanted")
        finite = np.isfinite(wanted)
        u, v, a = self._sent
        asked = self._inside(np.where(finite, wanted, u))
        self._asked = np.concatenate([self._asked[1:], asked])

        # Where do these end: five motions possible next, being there at once, what is asked for?
        ahead = self._ahead(v, a)
        at_once = np.array([asked, asked - u, (asked - u) - v])
        options = [self._moved(ahead), at_once, self._leader()]
        rest = self._rest(np.concatenate(options, axis=1))
        aim = np.where(finite, self._inside(rest[-1]), rest[2])

        excess = np.maximum(ahead[0] - at_once[2], at_once[2] - ahead[-1])
        fits = finite & (np.maximum(excess, np.abs(rest[-2] - aim)) <= self._tiny)
        self._sent = np.where(fits, at_once, self._moved(_towards(aim, rest[:-2], ahead)[None]))
        self._sent[0] = self._inside(self._sent[0])  # rounding may have led past an end
        return self.command

    def _ahead(self, v: Floats, a: Floats) -> Floats:
        """Accelerations ``[5, A]`` possible next, ascending; that of the stop is the middle one."""
        least = np.maximum(a - self._jerk, -self._acceleration)
        greatest = np.minimum(a + self._jerk, self._acceleration)
        eased = _eased(self._cruise - v, self._jerk)
        return np.array(SPREAD @ _clipped(eased, least, greatest))

    def _moved(self, a: Floats) -> Floats:
        """The motions ``[3, N, A]`` of the next tick, given the accelerations ``[N, A]``."""
        v = self._sent[1] + a
        return np.array([self._sent[0] + v, v, a])

    def _leader(self) -> Floats:
        """The motion ``[3, 1, A]`` of what is asked for.

        Where its jerk is no motion's, it moves at the median of its last three velocities, which is
        that of a slope, but zero for a step.
        """
        v = self._asked[1:] - self._asked[:-1]
        a = v[1:] - v[:-1]
        smooth = np.abs(a[2:] - a[1:2]) <= self._jerk + self._tiny
        v = np.where(smooth, v[3:], np.sort(v[1:], axis=0)[1:2])
        a = np.where(smooth, a[2:], 0.0)
        v = _clipped(v, -self._velocity, self._velocity)
        a = _clipped(a, -self._acceleration, self._acceleration)
        return np.array([self._asked[4:], v, a])

    def _rest(self, motion: Floats) -> Floats:
        """Where motions ``[3, N, A]`` end ``[N, A]`` if stopped as fast as possible."""
        u, v, a = motion
        most = self._acceleration / self._jerk
        return np.array(u + self._jerk * _way(v / self._jerk, a / self._jerk, most))

    def _inside(self, command: Floats) -> Floats:
        """The nearest command within low and high."""
        return _clipped(command, self._low, self._high)

    def _rest_at(self, command: npt.ArrayLike, name: str) -> None:
        """Forget what was sent and asked for before."""
        start = self._checked(command, name)
        inside = bool(((self._low <= start) & (start <= self._high)).all())
        require(inside, name, f"within {self._low} and {self._high}", command)
        self._asked = np.tile(start, (5, 1))
        self._sent = np.array([start, 0.0 * start, 0.0 * start])[:, None]

    def _checked(self, command: npt.ArrayLike, name: str) -> Floats:
        """The command as an array of our own."""
        array = np.array(command, float)
        require(array.shape == self._low.shape, name, f"shape {self._low.shape}", array.shape)
        return array


def _clipped(value: Floats, low: Floats, high: Floats) -> Floats:
    """As ``np.clip``, in a fraction of the time that this takes for a few numbers."""
    clipped: Floats = np.minimum(np.maximum(value, low), high)
    return clipped


def _towards(aim: Floats, rest: Floats, ahead: Floats) -> Floats:
    """The acceleration ``[A]`` whose stop ends at ``aim``, between those ``ahead`` with ``rest``.

    That end is a convex function of the acceleration above the middle one, and a concave one below;
    so chords fall short of the aim, never beyond it.
    """
    left, each = (rest[1:-1] <= aim).sum(axis=0), np.arange(aim.size)
    gap = rest[left + 1, each] - rest[left, each]
    share = np.divide(aim - rest[left, each], gap, out=np.zeros_like(aim), where=gap > 0.0)
    share = np.minimum(np.maximum(share, 0.0), 1.0)
    return np.array(ahead[left, each] + share * (ahead[left + 1, each] - ahead[left, each]))


def _eased(v: Floats, jerk: Floats) -> Floats:
    """The acceleration that, with ``jerk`` less of it each tick, changes the velocity by ``v``."""
    speed = np.abs(v)
    n = np.floor(np.sqrt(2.0 * speed / jerk + 0.25) - 0.5)  # ticks after the first
    return np.array(np.copysign(speed / (n + 1.0) + 0.5 * jerk * n, v))


def _way(v: Floats, a: Floats, most: Floats) -> Floats:
    """How far the fastest stop goes that accelerates by no more than ``most``; jerk is 1."""
    size = np.abs(a)
    n = np.floor(size)
    forward = np.copysign(1.0, v + np.copysign(n * (size - 0.5 * (n + 1.0)), a))  # when eased off
    v, a = forward * v, forward * a

    # Each phase takes n ticks, whose velocities it adds up and whose accelerations it takes off v:
    # first until the acceleration would turn negative; if it is, back to where it did (n < 0).
    n = np.floor(a)
    more = n + 1.0
    way = n * (v + more * (0.5 * a - (n + 2.0) / 6.0))
    v = v + n * (a - 0.5 * more)
    first = more - a

    # Then brake harder each tick, for as long as easing off afterwards does not turn around.
    n = np.sqrt(np.maximum(first * first + (v - first), 0.0)) - first
    n = np.floor(np.minimum(n, most - first)) + 1.0
    way += n * (v - (n + 1.0) * (0.5 * first + (n - 1.0) / 6.0))
    v -= n * (first + 0.5 * (n - 1.0))

    # Brake the hardest.
    n = np.floor(most)
    n = np.maximum(np.floor((v - n * (most - 0.5 * (n + 1.0))) / most), 0.0)
    way += n * (v - 0.5 * most * (n + 1.0))
    v = np.maximum(v - n * most, 0.0)

    # Ease off.
    n = np.floor(np.sqrt(2.0 * v + 0.25) - 0.5)
    way += n * (0.5 * v - (n + 1.0) * (n + 2.0) / 12.0)
    return forward * way
