"""What it is worth to end a plan where one can go on from."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from mpc_robot.controllers.lqr import LQR
from mpc_robot.controllers.mpc import TerminalValue
from mpc_robot.dynamics.simulator import Simulator
from mpc_robot.envs.base import EnvSpec


@dataclass(frozen=True)
class Upright:
    """A terminal value for a robot that should stand: being alive, less leaning and crouching.

    A sum of rewards over a short horizon falls for speed: it does not see the fall that follows.
    Lean and height are those expected a moment later, so that falling counts before the fall.

    Attributes:
        alive: worth of not having terminated. It must exceed the losses of any state to be
            preferred to termination.
        lean: loss per rad² of lean beyond ``lean_free``.
        lean_free: lean to either side that costs nothing, rad.
        lean_ahead: time by which the lean is extrapolated, s.
        crouch: loss per m² below ``height``.
        height: least height without loss, m.
        fall_ahead: time by which a fall is extrapolated, s.
        angle: entry of the observation that is the lean, rad.
        angle_rate: entry that is its rate, rad/s.
        z: entry that is the height, m.
        z_rate: entry that is its rate, m/s.
    """

    alive: float = 0.0
    lean: float = 0.0
    lean_free: float = 0.0
    lean_ahead: float = 0.0
    crouch: float = 0.0
    height: float = 0.0
    fall_ahead: float = 0.0
    angle: int = 2
    angle_rate: int = -1
    z: int = 1
    z_rate: int = -2

    def __call__(self, observations: Tensor) -> Tensor:
        """Worth of last observations ``[..., D]``, ``[...]``."""
        lean = observations[..., self.angle] + self.lean_ahead * observations[..., self.angle_rate]
        lean = (lean.abs() - self.lean_free).clamp(min=0.0)
        fall = self.fall_ahead * observations[..., self.z_rate].clamp(max=0.0)
        crouch = (self.height - observations[..., self.z] - fall).clamp(min=0.0)
        return self.alive - self.lean * lean**2 - self.crouch * crouch**2


@dataclass(frozen=True)
class SwimmerProgress:
    """A terminal value for Swimmer-v5: what its front has gained on its mass centre is lost again.

    Its reward is the velocity of the front link. A plan of seconds throws that link forward, and
    the next one has to take it back; counted by the mass centre, only swimming pays.

    Attributes:
        period: control period, s, which makes a return of a distance.
        heading: entry of the observation that is the front link's angle, rad; the angles of the two
            further links to their forerunners follow it.
    """

    period: float = 0.04
    heading: int = 1

    def __call__(self, observations: Tensor) -> Tensor:
        """Worth of last observations ``[..., D]``, ``[...]``: the model's links are 1 m each."""
        angles = observations[..., self.heading : self.heading + 3].cumsum(dim=-1).cos()
        ahead = (2.0 * angles[..., 0] - 1.5 * angles[..., 1] - 0.5 * angles[..., 2]) / 3.0
        return ahead / self.period


@dataclass(frozen=True)
class CostToGo:
    """A terminal value for a robot that should hold a set point: what LQR would pay from there on.

    Attributes:
        state_cost: per squared deviation of each entry of qpos (m, rad) and qvel ``[n]``.
        action_cost: per squared action ``[A]``.
        scale: return that a unit of LQR's cost is worth.
        alive: worth of not having terminated.
    """

    state_cost: tuple[float, ...]
    action_cost: tuple[float, ...]
    scale: float = 1.0
    alive: float = 0.0

    def value(self, simulator: Simulator, spec: EnvSpec) -> TerminalValue:
        """The value of last observations, about the model at rest as it loads.

        Raises:
            ValueError: if LQR cannot hold it there; see :class:`LQR`.
        """
        lqr = LQR(simulator, spec, self.state_cost, self.action_cost)
        return lambda observations: self.alive + self.scale * lqr.value(observations)
