"""Rewards put together from small terms that add and multiply, each with units.

    reward = reach("tip", "target", margin=0.2) * small_control() + 0.1 * upright("torso")

A term is a quantity of a transition: a number, a vector, or true or false. It says which features
of the simulation it reads; :class:`mpc_robot.envs.features.Layout` puts those into the observation.
What is good is in [0, 1] and named by its virtue (``reach``, ``upright``, ``track_velocity``); what
costs is at least 0, named by its vice, and to be subtracted (``effort``, ``control_change``).

Terms take numpy and torch of any leading shape. Arithmetic and comparison work as on arrays; a
vector becomes a number by ``norm``, ``sum``, ``mean`` or an index. A plain function
``reward(obs, action, next_obs)`` may stand wherever a term may; :func:`apply` makes a term of a
function of named fields.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from mpc_robot.envs import features
from mpc_robot.envs.arrays import like, namespace, norm
from mpc_robot.envs.base import RewardFn, TerminationFn
from mpc_robot.envs.features import CTRL, QPOS, QVEL, Axis, Feature, Layout
from mpc_robot.envs.rewards import Sigmoid, tolerance


@dataclass(frozen=True)
class Moment:
    """Transitions that terms are evaluated on, of any leading shape.

    Attributes:
        layout: what the observations are made of.
        next_obs: reached observations ``[..., D]``.
        action: actions that led there ``[..., A]``; None of states that no step led to.
        obs: observations before ``[..., D]``; None of states that no step led to.
    """

    layout: Layout
    next_obs: Any
    action: Any = None
    obs: Any = None

    def reached(self, feature: Feature) -> Any:
        """The feature ``[..., *shape]`` after the step."""
        return self.layout.get(feature, self.next_obs)

    def before(self, feature: Feature) -> Any:
        """The feature ``[..., *shape]`` before the step."""
        return self.layout.get(feature, self.of_step(self.obs))

    def of_step(self, part: Any) -> Any:
        """The action or the observation before; raises ValueError of states alone."""
        if part is None:
            raise ValueError("term: expected one of states alone, got one that reads the step")
        return part


@dataclass(frozen=True)
class Term:
    """A quantity of a transition.

    Attributes:
        features: what it reads.
        value: its value ``[...]``, or ``[..., n]`` of a vector, at a moment.
    """

    features: tuple[Feature, ...]
    value: Callable[[Moment], Any]

    def map(self, function: Callable[[Any], Any]) -> Term:
        """A function of this term's array, numpy or torch as it comes."""
        return Term(self.features, lambda moment: function(self.value(moment)))

    def tolerance(
        self,
        bounds: tuple[float, float] = (0.0, 0.0),
        margin: float = 0.0,
        sigmoid: Sigmoid = "gaussian",
        value_at_margin: float = 0.1,
    ) -> Term:
        """:func:`mpc_robot.envs.rewards.tolerance` of it: 1 within bounds, less outside."""
        return self.map(lambda x: tolerance(x, bounds, margin, sigmoid, value_at_margin))

    def clip(self, low: float, high: float) -> Term:
        """The nearest value between ``low`` and ``high``."""
        return self.map(lambda x: namespace(x).clip(x, low, high))

    def sin(self) -> Term:
        """Sine of an angle, rad."""
        return self.map(lambda x: namespace(x).sin(x))

    def norm(self) -> Term:
        """Euclidean length of a vector."""
        return self.map(norm)

    def sum(self) -> Term:
        """Sum of a vector's entries."""
        return self.map(lambda x: x.sum(-1))

    def mean(self) -> Term:
        """Mean of a vector's entries."""
        return self.map(lambda x: x.mean(-1))

    def __getitem__(self, index: int | slice) -> Term:
        """Entries of a vector."""
        return self.map(lambda x: x[..., index])

    def __add__(self, other: TermLike) -> Term:
        """Sum."""
        return apply(lambda x, y: x + y, self, other)

    def __sub__(self, other: TermLike) -> Term:
        """Difference."""
        return apply(lambda x, y: x - y, self, other)

    def __mul__(self, other: TermLike) -> Term:
        """Product."""
        return apply(lambda x, y: x * y, self, other)

    def __truediv__(self, other: TermLike) -> Term:
        """Quotient."""
        return apply(lambda x, y: x / y, self, other)

    def __radd__(self, other: TermLike) -> Term:
        """Sum."""
        return apply(lambda x, y: x + y, other, self)

    def __rsub__(self, other: TermLike) -> Term:
        """Difference."""
        return apply(lambda x, y: x - y, other, self)

    def __rmul__(self, other: TermLike) -> Term:
        """Product."""
        return apply(lambda x, y: x * y, other, self)

    def __pow__(self, exponent: float) -> Term:
        """Power."""
        return self.map(lambda x: x**exponent)

    def __neg__(self) -> Term:
        """Negative."""
        return self.map(lambda x: -x)

    def __abs__(self) -> Term:
        """Absolute value."""
        return self.map(abs)

    def __lt__(self, other: TermLike) -> Term:
        """True where less."""
        return apply(lambda x, y: x < y, self, other)

    def __gt__(self, other: TermLike) -> Term:
        """True where greater."""
        return apply(lambda x, y: x > y, self, other)

    def __or__(self, other: TermLike) -> Term:
        """True where either is."""
        return apply(lambda x, y: x | y, self, other)

    def __and__(self, other: TermLike) -> Term:
        """True where both are."""
        return apply(lambda x, y: x & y, self, other)


TermLike = Term | RewardFn | float | Sequence[float]
"""A term, a function ``(obs, action, next_obs)``, a number, or a vector of numbers."""
TerminationLike = Term | TerminationFn
"""A term of true and false, or a function ``next_obs -> [...]``."""
Point = Term | str | Sequence[float]
"""A term ``[..., 3]``, the name of a site or body, or coordinates in the world, m."""


def as_term(value: TermLike) -> Term:
    """A term of whatever may stand for one."""
    if isinstance(value, Term):
        return value
    if callable(value):
        return Term((), lambda m: value(m.obs, m.action, m.next_obs))
    if isinstance(value, Sequence):
        return Term((), lambda m: like(value, m.next_obs))
    return Term((), lambda m: value)


def reward_of(term: TermLike, layout: Layout) -> RewardFn:
    """The task's reward: a term of transitions laid out so."""
    value = as_term(term).value
    return lambda obs, action, next_obs: value(Moment(layout, next_obs, action, obs))


def termination_of(term: TerminationLike, layout: Layout) -> TerminationFn:
    """The task's termination: a term, or a function, of the reached observation alone."""
    if isinstance(term, Term):
        return lambda next_obs: term.value(Moment(layout, next_obs))
    return term


def apply(function: Callable[..., Any], *values: TermLike | str) -> Term:
    """A function of the arrays of terms, or of MjData fields by name; numpy or torch as it comes.

    ``apply(lambda qvel: -(qvel**2).sum(-1), "qvel")`` is a reward: less the squared velocities.
    """
    terms = [field(value) if isinstance(value, str) else as_term(value) for value in values]
    read = tuple(feature for term in terms for feature in term.features)
    return Term(read, lambda moment: function(*(term.value(moment) for term in terms)))


# Quantities ---------------------------------------------------------------------------------------


def field(name: str) -> Term:
    """An MjData field as it is after the step, such as ``qfrc_actuator`` ``[..., nv]``, N·m."""
    return _reached(features.whole(name))


def sensor(name: str) -> Term:
    """What a sensor of the model measures ``[..., n]``, in its own unit."""
    return _reached(features.sensor_reading(name))


def time() -> Term:
    """Simulation time, s; a path over time makes a target that a plan sees coming."""
    return _reached(features.TIME)


def position(name: str) -> Term:
    """Where a site or body is ``[..., 3]``, m, in the world."""
    return _reached(features.position_of(name))


def height(name: str) -> Term:
    """Height of a site or body above the world's origin, m."""
    return position(name)[2]


def velocity(name: str) -> Term:
    """Velocity of a site or body ``[..., 3]``, m/s, in the world's axes."""
    return _reached(features.velocity_of(name))


def rotation_speed(body: str) -> Term:
    """Angular velocity of a body ``[..., 3]``, rad/s, in the world's axes."""
    return _reached(features.rotation_speed_of(body))


def axis(body: str, name: Axis) -> Term:
    """A body's x, y or z axis ``[..., 3]``, a unit vector in the world."""
    return _reached(features.axis_of(body, name))


def joint_position(*names: str) -> Term:
    """Positions of hinges and slides ``[..., n]``, rad or m; of all where none is named."""
    return _joints(QPOS, names)


def joint_velocity(*names: str) -> Term:
    """Velocities of hinges and slides ``[..., n]``, rad/s or m/s; of all where none is named."""
    return _joints(QVEL, names)


def control() -> Term:
    """The action ``[..., A]``: MuJoCo's ``ctrl``, in each actuator's own unit."""
    return Term((), lambda moment: moment.of_step(moment.action))


def previous_control() -> Term:
    """The action before this one ``[..., A]``; zero, or the keyframe's, at the start."""
    return Term((CTRL,), lambda moment: moment.before(CTRL))


# What is good, in [0, 1] --------------------------------------------------------------------------


def reach(start: Point, goal: Point, margin: float, sigmoid: Sigmoid = "long_tail") -> Term:
    """Nearness of two points: 1 where they meet, 0.1 at ``margin``, m."""
    apart = (_point(start) - _point(goal)).norm()
    return apart.tolerance(margin=margin, sigmoid=sigmoid)


def align(
    body: str, quaternion: Sequence[float], margin: float, sigmoid: Sigmoid = "gaussian"
) -> Term:
    """Nearness of a body's orientation to a unit quaternion, w first: 0.1 at ``margin``, rad.

    With :func:`reach`, it tracks a pose.
    """
    target = as_term(quaternion)
    orientation = _reached(features.orientation_of(body))
    chords = ((orientation - target).norm(), (orientation + target).norm())  # q and -q are one
    angle = apply(_angle_of_chords, *chords)
    return angle.tolerance(margin=margin, sigmoid=sigmoid)


def upright(body: str) -> Term:
    """Half of one plus the cosine of the tilt of a body's z axis: 1 upright, 0 upside down."""
    return (axis(body, "z")[2] + 1.0) / 2.0


def track_velocity(
    name: str, target: Sequence[float], margin: float, sigmoid: Sigmoid = "gaussian"
) -> Term:
    """Nearness of a site's or body's velocity to a target, m/s: 0.1 at ``margin``, m/s.

    A target of two entries is horizontal, and leaves the vertical velocity free.
    """
    error = velocity(name)[: len(target)] - tuple(target)
    return error.norm().tolerance(margin=margin, sigmoid=sigmoid)


def track_joints(
    targets: Mapping[str, float], margin: float, sigmoid: Sigmoid = "gaussian"
) -> Term:
    """Mean nearness of hinges and slides to their targets, rad or m: 0.1 at ``margin``."""
    error = joint_position(*targets) - tuple(targets.values())
    return error.tolerance(margin=margin, sigmoid=sigmoid).mean()


def small_control() -> Term:
    """1 without control, 0.8 at the greatest of all actuators (arXiv:1801.00690, dm_control)."""
    return (_control_share().tolerance((0, 0), 1.0, "quadratic", 0.0).mean() + 4.0) / 5.0


# What costs, at least 0 ---------------------------------------------------------------------------


def effort() -> Term:
    """Mean square of the controls as shares of the greatest in their range: 0 to 1."""
    return (_control_share() ** 2).mean()


def squared_force() -> Term:
    """Sum of the actuators' squared forces, N² or (N·m)²: the effort of position servos."""
    return (field("actuator_force") ** 2).sum()


def control_change() -> Term:
    """Mean square of the controls' changes as shares of their ranges: 0 for a constant command."""
    return apply(_share_of_range_changed, control(), previous_control(), _control_range())


def _share_of_range_changed(now: Any, before: Any, ranges: Any) -> Any:
    return (((now - before) / (ranges[:, 1] - ranges[:, 0])) ** 2).mean(-1)


def _control_share() -> Term:
    return control() / apply(
        lambda limits: namespace(limits).amax(abs(limits), -1), _control_range()
    )


def _control_range() -> Term:
    """The model's ``actuator_ctrlrange`` ``[A, 2]``."""
    return Term((), lambda m: like(m.layout.scene.model.actuator_ctrlrange, m.next_obs))


def _reached(feature: Feature) -> Term:
    return Term((feature,), lambda moment: moment.reached(feature))


def _joints(feature: Feature, names: tuple[str, ...]) -> Term:
    of: Literal["q", "v"] = "q" if feature is QPOS else "v"

    def value(moment: Moment) -> Any:
        """The joints' own entries."""
        entries = features.joint_addresses(moment.layout.scene.model, names, of)
        return moment.reached(feature)[..., entries]

    return Term((feature,), value)


def _point(point: Point) -> Term:
    return position(point) if isinstance(point, str) else as_term(point)


def _angle_of_chords(one: Any, other: Any) -> Any:
    """Angle between two orientations, rad, from the distances of their quaternions."""
    xp = namespace(one)
    return 4.0 * xp.arcsin(xp.clip(xp.minimum(one, other) / 2.0, 0.0, 1.0))
