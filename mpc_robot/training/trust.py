"""How far a learner can be trusted before the robot moves: every measurement, in one place."""

from __future__ import annotations

import math
from contextlib import closing
from dataclasses import dataclass

import torch

from mpc_robot.agents.base import Agent, Imaginative
from mpc_robot.controllers.mpc import MPC
from mpc_robot.dynamics.ensemble import ProbabilisticEnsemble
from mpc_robot.dynamics.world_model import State, WorldModel
from mpc_robot.envs import Task, control_period, make_env
from mpc_robot.training.evaluation import Evaluation
from mpc_robot.training.trust_dream import CONTEXT, DreamErrors, dream_errors
from mpc_robot.training.trust_model import (
    Calibration,
    OpenLoopError,
    Ranking,
    calibration,
    one_step_ranking,
    open_loop_error,
    ranking_after,
)
from mpc_robot.training.trust_plan import Rehearsal, oracle, planning_steps, rehearse


@dataclass(frozen=True)
class TrustConfig:
    """How thoroughly trust is measured.

    Attributes:
        threshold: error, in standard deviations of the observation's entries, up to which a
            prediction counts as good.
        starts: true states that the model is started from, at most.
        horizon: how far the model is followed, s, where no planner says how far it looks ahead.
        rehearsals: episodes that the planner, and then the oracle, is run for.
        rehearsal_steps: steps of each, at most; most of the time goes here.
    """

    threshold: float = 0.5
    starts: int = 200
    horizon: float = 1.0
    rehearsals: int = 1
    rehearsal_steps: int = 300

    def __post_init__(self) -> None:
        """Raises ValueError naming the field that makes no sense."""
        for name in ("threshold", "horizon"):
            if not 0.0 < getattr(self, name) < math.inf:
                raise ValueError(
                    f"{name}: expected a finite number above 0, got {getattr(self, name)}"
                )
        for name in ("starts", "rehearsals", "rehearsal_steps"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}: expected at least 1, got {getattr(self, name)}")


@dataclass(frozen=True)
class ModelTrust:
    """How far the model can be trusted.

    Attributes:
        open_loop: errors over up to twice the planner's horizon.
        calibration: of one-step predictions.
        one_step: disagreement beside error after one step.
        at_horizon: spread beside error at the end of the planner's horizon.
    """

    open_loop: OpenLoopError
    calibration: Calibration
    one_step: Ranking
    at_horizon: Ranking


@dataclass(frozen=True)
class PlanTrust:
    """How far the planner can be trusted.

    Attributes:
        learned: the planner with its learned model.
        oracle: the same planner with the simulator as its model, from the same starts; where the
            task has no simulator, why not.
    """

    learned: Rehearsal
    oracle: Rehearsal | str


@dataclass(frozen=True)
class Trust:
    """All that was measured.

    Attributes:
        task: name of the task.
        agent: name of the agent's class.
        seed: of the evaluation, the rehearsals and the starts.
        dt: control period, s.
        horizon: steps that the planner looks ahead, or that the model was meant to be followed.
        config: how it was measured.
        evaluation: the episodes that the model is held against.
        model: None if the agent has no probabilistic ensemble.
        plan: None if the agent does not plan.
        dream: None if the agent does not dream, or no episode was long enough.
    """

    task: str
    agent: str
    seed: int
    dt: float
    horizon: int
    config: TrustConfig
    evaluation: Evaluation
    model: ModelTrust | None
    plan: PlanTrust | None
    dream: DreamErrors | None = None


def measure_trust(
    task: Task, agent: Agent, evaluation: Evaluation, seed: int, config: TrustConfig
) -> Trust:
    """Hold an agent against episodes of its own controller that it never learned from.

    Args:
        task: what it has learned.
        agent: any; what it does not have is left out.
        evaluation: of the agent as it is now.
        seed: the evaluation's.
        config: how thoroughly.

    Raises:
        PlantError: if the environment reports NaN or an infinity.
    """
    with closing(make_env(task)) as env:
        dt = control_period(env)
    planner, model = agent.controller(), getattr(agent, "model", None)
    if isinstance(planner, MPC):
        horizon = planning_steps(planner)
        plan = _trust_in_plan(task, planner, seed, config)
    else:
        horizon, plan = max(round(config.horizon / dt), 1), None
    return Trust(
        task=task.name,
        agent=type(agent).__name__,
        seed=seed,
        dt=dt,
        horizon=horizon,
        config=config,
        evaluation=evaluation,
        model=_trust_in_model(model, evaluation, horizon, seed, config)
        if isinstance(model, ProbabilisticEnsemble)
        else None,
        plan=plan,
        dream=_trust_in_dreams(agent.world_model(), evaluation, seed)
        if isinstance(agent, Imaginative)
        else None,
    )


def _trust_in_dreams(
    model: WorldModel[State] | None, evaluation: Evaluation, seed: int
) -> DreamErrors | None:
    if model is None or evaluation.lengths.max() < CONTEXT:
        return None
    return dream_errors(model, evaluation.episodes, torch.Generator().manual_seed(seed))


def _trust_in_model(
    model: ProbabilisticEnsemble,
    evaluation: Evaluation,
    horizon: int,
    seed: int,
    config: TrustConfig,
) -> ModelTrust:
    episodes, longest = evaluation.episodes, int(evaluation.lengths.max())
    rng = torch.Generator().manual_seed(seed)
    errors = open_loop_error(model, episodes, min(2 * horizon, longest), rng, config.starts)
    return ModelTrust(
        open_loop=errors,
        calibration=calibration(model, episodes),
        one_step=one_step_ranking(model, episodes),
        at_horizon=ranking_after(errors, min(horizon, longest)),
    )


def _trust_in_plan(task: Task, planner: MPC, seed: int, config: TrustConfig) -> PlanTrust:
    learned = rehearse(task, planner, config.rehearsals, seed, config.rehearsal_steps)
    try:
        all_knowing = oracle(task, planner)
    except (TypeError, ValueError) as error:
        return PlanTrust(learned, str(error))
    return PlanTrust(
        learned, rehearse(task, all_knowing, config.rehearsals, seed, config.rehearsal_steps)
    )
