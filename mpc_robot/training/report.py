"""The trust report of a run: ``report.md``, its pictures, and ``report.json`` for programs."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np

from mpc_robot.agents.base import Agent
from mpc_robot.envs import Task
from mpc_robot.training.evaluation import Evaluation
from mpc_robot.training.files import replacing
from mpc_robot.training.report_plots import (
    plot_calibration,
    plot_disagreement,
    plot_dreams,
    plot_open_loop,
    plot_plan,
)
from mpc_robot.training.report_text import markdown
from mpc_robot.training.run_folder import RunFolder
from mpc_robot.training.trust import ModelTrust, PlanTrust, Trust, TrustConfig, measure_trust
from mpc_robot.training.trust_dream import DreamErrors
from mpc_robot.training.trust_model import LEVELS, Ranking, over_starts, root_mean_square
from mpc_robot.training.trust_plan import Rehearsal

FORMAT = 1


def write_report(
    folder: RunFolder,
    task: Task,
    agent: Agent,
    evaluation: Evaluation,
    seed: int,
    *,
    config: TrustConfig | None = None,
) -> Trust:
    """Measure how far an agent can be trusted, and write it down.

    ``report.md`` is written last and as a whole: where it is, all that it mentions is there too.

    Args:
        folder: where to.
        task: what the agent has learned.
        agent: any; what it does not have is said to be missing.
        evaluation: of the agent as it is now.
        seed: the evaluation's, so that the oracle starts where the agent did.
        config: how thoroughly to measure.

    Raises:
        PlantError: if the environment reports NaN or an infinity.
        OSError: if the folder can not be written.
    """
    trust = measure_trust(task, agent, evaluation, seed, config or TrustConfig())
    _draw(trust, folder.path)
    text = json.dumps(as_json(trust), indent=1, allow_nan=False)
    with replacing(folder.report.with_suffix(".json")) as draft:
        draft.write_text(text + "\n", encoding="utf-8")
    with replacing(folder.report) as draft:
        draft.write_text(markdown(trust), encoding="utf-8")
    return trust


def as_json(trust: Trust) -> dict[str, Any]:
    """Every number of a report as JSON values; what is not finite is null."""
    report = {
        "format": FORMAT,
        "task": trust.task,
        "agent": trust.agent,
        "seed": trust.seed,
        "dt": trust.dt,
        "horizon_steps": trust.horizon,
        "returns": trust.evaluation.returns,
        "lengths": trust.evaluation.lengths,
        "model": None if trust.model is None else _model(trust, trust.model),
        "plan": None if trust.plan is None else _plan(trust.plan),
        "dream": None if trust.dream is None else _dream(trust.dream),
    }
    return _finite(report)  # type: ignore[no-any-return]


def _draw(trust: Trust, folder: Path) -> None:
    """The pictures of what was measured."""
    if trust.model is not None:
        model, dt, horizon = trust.model, trust.dt, trust.horizon
        threshold, picture = trust.config.threshold, folder / "report_open_loop.png"
        plot_open_loop(model.open_loop, dt, horizon, threshold, picture)
        plot_calibration(model.calibration, folder / "report_calibration.png")
        plot_disagreement(model, dt, horizon, folder / "report_disagreement.png")
    if trust.plan is not None:
        plot_plan(trust.plan, trust.dt, folder / "report_plan.png")
    if trust.dream is not None:
        plot_dreams(trust.dream, trust.dt, folder / "report_dream.png")


def _model(trust: Trust, model: ModelTrust) -> dict[str, Any]:
    errors, threshold = model.open_loop, trust.config.threshold
    steps = errors.trusted_steps(threshold)
    return {
        "open_loop": {
            "starts": len(errors.entries),
            "threshold": threshold,
            "trusted_steps": steps,
            "trusted_s": steps * trust.dt,
            "median": over_starts(errors.overall, 0.5),
            "p90": over_starts(errors.overall, 0.9),
            "unchanged_median": over_starts(errors.overall_unchanged, 0.5),
            "unchanged_p90": over_starts(errors.overall_unchanged, 0.9),
            "spread_median": over_starts(root_mean_square(errors.spread), 0.5),
            "entry_scale": errors.scale,
            "entry_median": over_starts(errors.entries, 0.5),
        },
        "calibration": {
            "outputs": list(model.calibration.names),
            "levels": LEVELS,
            "observed": model.calibration.observed,
            "expected_calibration_error": model.calibration.error,
            "outside_90": model.calibration.outside,
        },
        "disagreement": {
            "one_step": _ranking(model.one_step),
            "at_horizon": _ranking(model.at_horizon),
        },
    }


def _ranking(ranking: Ranking) -> dict[str, Any]:
    return {"spearman": ranking.correlation, "rows": len(ranking.error)}


def _plan(plan: PlanTrust) -> dict[str, Any]:
    if isinstance(plan.oracle, Rehearsal):
        oracle, missing = _rehearsal(plan.oracle), None
    else:
        oracle, missing = None, plan.oracle
    return {"learned": _rehearsal(plan.learned), "oracle": oracle, "oracle_missing": missing}


def _rehearsal(rehearsal: Rehearsal) -> dict[str, Any]:
    return {
        "returns": rehearsal.evaluation.returns,
        "lengths": rehearsal.evaluation.lengths,
        "expected": rehearsal.expected,
        "realised": rehearsal.realised,
        "optimism": rehearsal.optimism,
    }


def _dream(dream: DreamErrors) -> dict[str, Any]:
    names = ("imagined", "unchanged", "reconstructed", "reward")
    means = {f"{name}_mean": getattr(dream, name).mean(axis=0) for name in names}
    return {
        "starts": len(dream.imagined),
        "unit": dream.unit,
        "better_steps": dream.better_steps,
        **means,
    }


def _finite(value: Any) -> Any:
    """JSON values of a nested dict with arrays; NaN and infinities become null."""
    match value:
        case dict():
            return {key: _finite(item) for key, item in value.items()}
        case np.ndarray() | list():
            return [_finite(item) for item in value]
        case np.generic():
            return _finite(value.item())
        case float() if not math.isfinite(value):
            return None
        case _:
            return value
