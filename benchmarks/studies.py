"""What is asked of each learner: tasks, returns to reach, and env steps within which to reach them.

A task's name says how it is seen, see :func:`mpc_robot.envs.get_task`; an action that is held for
several control steps counts as so many env steps.
"""

from __future__ import annotations

from dataclasses import dataclass

from benchmarks.baseline_settings import BASELINES

from mpc_robot.errors import UnknownNameError


@dataclass(frozen=True)
class Goal:
    """A return to reach.

    Attributes:
        level: the return, or its share of what a planner with the true dynamics earns.
        limit: env steps within which the learner shall reach it.
        share: whether ``level`` is such a share.
    """

    level: float
    limit: int
    share: bool = False

    def wanted(self, oracle_return: float | None) -> float:
        """The return to reach, beside what a planner with the true dynamics earns.

        Raises:
            ValueError: if a share of that is wanted and it was not measured.
        """
        if not self.share:
            return self.level
        if oracle_return is None:
            raise ValueError("oracle_return: expected a number, for a share of it is asked")
        return self.level * oracle_return


@dataclass(frozen=True)
class Study:
    """What is asked of a learner on one task.

    Attributes:
        goals: returns to reach.
        steps: env steps of a run.
        eval_every: env steps between its evaluations.
        eval_episodes: episodes of an evaluation.
        seeds: runs, from seed 0 on.
    """

    goals: tuple[Goal, ...]
    steps: int
    eval_every: int
    eval_episodes: int = 10
    seeds: int = 3


POLICIES = {
    "InvertedPendulum-v5": Study((Goal(950.0, 2_000),), 2_000, 250, seeds=5),
    "InvertedDoublePendulum-v5": Study((Goal(9_000.0, 8_000),), 8_000, 500, seeds=5),
    "Reacher-v5": Study((Goal(-5.0, 5_000),), 5_000, 500, seeds=5),
    "Hopper-v5": Study((Goal(2_000.0, 20_000), Goal(3_000.0, 30_000)), 30_000, 1_000),
    "HalfCheetah-v5": Study((Goal(4_000.0, 10_000), Goal(8_000.0, 50_000)), 50_000, 1_000),
    "Walker2d-v5": Study((Goal(3_000.0, 40_000),), 40_000, 1_000),
}
"""Of policies trained in a model, beside PPO."""
PETS = {
    "CartpoleSwingup-v0": Study((Goal(0.9, 2_500, share=True),), 3_000, 500, 2, seeds=5),
    "CartpoleBalance-v0": Study((Goal(0.95, 500, share=True),), 1_000, 500, 2, seeds=5),
    "InvertedPendulum-v5": Study((Goal(950.0, 1_500),), 2_000, 500, 3, seeds=5),
    "Reacher-v5": Study((Goal(-5.0, 5_000),), 4_000, 500, 20, seeds=5),
    "InvertedDoublePendulum-v5": Study((Goal(9_000.0, 10_000),), 6_000, 1_000, 2, seeds=5),
}
MUZERO = {
    "CartPole-v1": Study((Goal(475.0, 15_000),), 15_000, 1_000),
    "Pendulum-v1": Study((Goal(-200.0, 30_000),), 30_000, 1_000),
    "InvertedPendulum-v5": Study((Goal(950.0, 20_000),), 20_000, 2_000, 5),
}
_BALANCE, _SWINGUP = (f"Cartpole{name}-v0+pixels+repeat2" for name in ("Balance", "Swingup"))
_VECTORS = "CartpoleSwingup-v0+repeat2"
DREAMER = {
    _BALANCE: Study((Goal(0.9, 20_000, share=True),), 20_000, 2_000, 5, seeds=2),
    _SWINGUP: Study((Goal(0.6, 80_000, share=True),), 80_000, 5_000, 5, seeds=2),
    _VECTORS: Study((Goal(0.8, 30_000, share=True),), 30_000, 2_500, 5, seeds=2),
}
EARLIER_DREAMER = {_BALANCE: Study((Goal(0.9, 40_000, share=True),), 40_000, 2_500, 5, seeds=2)}
WORLD_MODELS = {
    _BALANCE: Study((Goal(0.9, 35_000, share=True),), 35_000, 17_500, seeds=2),
    "CarRacing-v3+pixels+repeat4": Study((Goal(906.0, 156_000),), 156_000, 13_000, seeds=1),
}
"""The return on CarRacing is that of arXiv:1803.10122, which saw 10,000 random episodes."""

STUDIES = {
    "dhmbpo": POLICIES,
    "mbpo": POLICIES,
    "sac": POLICIES,
    "pets": PETS,
    "muzero": MUZERO,
    "dreamer": DREAMER,
    "dreamer-v1": EARLIER_DREAMER,
    "dreamer-v2": EARLIER_DREAMER,
    "world-models": WORLD_MODELS,
}
"""Learner of ours -> what is asked of it, by task."""


def studies_of(agent: str) -> dict[str, Study]:
    """What is asked of a learner, by task; of a baseline, runs as long as its settings say.

    Raises:
        UnknownNameError: if there is no such learner, or nothing is asked of it.
    """
    if agent in BASELINES:
        zoo = BASELINES[agent]
        return {task: Study((), zoo[task].steps, zoo[task].eval_every) for task in zoo}
    if agent not in STUDIES:
        raise UnknownNameError("agent", agent, (*STUDIES, *BASELINES))
    return STUDIES[agent]


def study(agent: str, task: str) -> Study:
    """What is asked of a learner on a task.

    Raises:
        UnknownNameError: if there is no such learner, or nothing is asked of it on such a task.
    """
    asked = studies_of(agent)
    if task not in asked:
        raise UnknownNameError(f"task of {agent}", task, asked)
    return asked[task]
