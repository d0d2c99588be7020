"""A trust report in words, for somebody who has to decide whether the robot may move."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from mpc_robot.training.trust import ModelTrust, PlanTrust, Trust
from mpc_robot.training.trust_dream import CONTEXT, DreamErrors
from mpc_robot.training.trust_model import Ranking, over_starts
from mpc_robot.training.trust_plan import Rehearsal

DREAM_STEPS = (1, 2, 5, 10, 20, 30, 40, 50)
"""Rows of the table of what is imagined; report.json has all."""
ENTRIES_SHOWN = 10
"""Rows of the table of observation entries, worst first; report.json has all."""


def markdown(trust: Trust) -> str:
    """The whole report."""
    parts = [_heading(trust), *_model(trust), _plan(trust), *_dream(trust)]
    return "\n\n".join(parts) + "\n"


def _heading(trust: Trust) -> str:
    lengths = trust.evaluation.lengths
    episodes, steps = _count(len(lengths), "evaluation episode"), _count(lengths.sum(), "step")
    points = "\n".join(f"- {point}" for point in _in_short(trust))
    return f"""# How far can {trust.agent} be trusted on {trust.task}?

Measured on {episodes} ({steps}, {lengths.sum() * trust.dt:.1f} s at
{trust.dt:g} s per step) that the model never learned from. It holds where this controller goes and
for what it met there; elsewhere nothing is known. All numbers are in `report.json`.

## In short

{points}"""


def _in_short(trust: Trust) -> list[str]:
    points = []
    if trust.model is not None:
        points += [_trusted(trust, trust.model), _confidence(trust.model), _alarm(trust.model)]
    if trust.plan is not None:
        points += [_gap(trust, trust.plan), _promise(trust.plan.learned)]
    if trust.dream is not None:
        points.append(_foreseen(trust, trust.dream))
    return points or ["This agent has no model or plan of a kind that is measured here."]


def _trusted(trust: Trust, model: ModelTrust) -> str:
    """The statement that the report is for."""
    threshold, tested = trust.config.threshold, model.open_loop.entries.shape[1]
    steps = model.open_loop.trusted_steps(threshold)
    ahead = f"the planner looks {_duration(trust.horizon, trust.dt)} ahead"
    if trust.plan is None:
        ahead = f"it was tested over {_duration(tested, trust.dt)}"
    if steps == 0:
        return f"**The model cannot be trusted for even one step** ({trust.dt:g} s); {ahead}."
    least = "at least " if steps == tested else ""
    return (
        f"**The model can be trusted for {least}{_duration(steps, trust.dt)}**: so far nine of ten "
        f"predictions are off by less than {threshold:g} standard deviations, and by less than "
        f"nine of ten would be that say “nothing changes”; {ahead}."
    )


def _confidence(model: ModelTrust) -> str:
    outside = float(model.calibration.outside.mean())
    if outside > 0.15:
        verdict = "The model is over-confident"
    elif outside < 0.05:
        verdict = "The model is under-confident"
    else:
        verdict = "The model knows how sure it may be"
    return (
        f"**{verdict}**: {outside:.0%} of real next values were outside the interval "
        "that it expects 90 % of them in (10 % would be right)."
    )


def _alarm(model: ModelTrust) -> str:
    correlation = model.at_horizon.correlation
    if math.isnan(correlation):
        return "**Doubt cannot serve as an alarm**: the model's doubt or its error never varies."
    if correlation > 0.5:
        verdict = "Doubt is a usable alarm"
    elif correlation > 0.2:
        verdict = "Doubt is a weak alarm"
    else:
        verdict = "Doubt is no alarm"
    return (
        f"**{verdict}**: at the end of a plan the model's doubt and its error have rank "
        f"correlation {correlation:.2f} (1: it errs just where it is unsure; 0: no connection)."
    )


def _gap(trust: Trust, plan: PlanTrust) -> str:
    if isinstance(plan.oracle, str):
        return (
            "**How much a better model would gain is not known**, for this task cannot be planned "
            f"in its own simulator: {plan.oracle}."
        )
    learned, best = plan.learned.evaluation.mean, plan.oracle.evaluation.mean
    share = f" ({learned / best:.0%})" if min(learned, best) > 0 else ""
    return (
        f"**The planner earns {learned:.1f} with the learned model, against {best:.1f} with the "
        f"true dynamics{share}**, over at most {_longest(trust, plan)} from the same start."
    )


def _longest(trust: Trust, plan: PlanTrust) -> str:
    """How long the longest rehearsal took."""
    rehearsals = [one for one in (plan.learned, plan.oracle) if isinstance(one, Rehearsal)]
    return _duration(max(max(one.evaluation.lengths) for one in rehearsals), trust.dt)


def _promise(learned: Rehearsal) -> str:
    if len(learned.expected) == 0:
        return "**Whether plans keep their promise is not known**: episodes ended before plans did."
    expected, realised = learned.expected.mean(), learned.realised.mean()
    optimistic = learned.optimism > 0.05 * abs(realised)
    verdict = "promise more than they keep" if optimistic else "keep what they promise"
    return (
        f"**Plans {verdict}**: over its horizon a plan promised a return of {expected:.2f} on "
        f"average, and {realised:.2f} was then earned."
    )


def _model(trust: Trust) -> list[str]:
    if trust.model is None:
        return ["## 1-3. The model\n\nThis agent has no probabilistic ensemble: nothing to ask."]
    model = trust.model
    return [_open_loop(trust, model), _calibration(model), _disagreement(trust, model)]


def _open_loop(trust: Trust, model: ModelTrust) -> str:
    errors = model.open_loop
    return f"""## 1. How fast do predictions go wrong?

![error against time predicted ahead](report_open_loop.png)

The model was started at {len(errors.entries)} true states and told the actions that were really
taken, but was never shown where they led. The error is the distance of its prediction (the mean of
its particles) from the truth, in standard deviations of each observation entry over these
episodes: 0 is perfect, and 1 is as bad as always answering with the average.

{_horizon_table(trust, model)}

- *Median*: half of the predictions are better than this.
- *90th percentile*: nine of ten are better than this; it decides how far the model is trusted.
- *Nothing changes*: 90th percentile of the error, had one predicted that all stays as it is.

The entries of the observation, worst first:

{_entry_table(trust, model)}

- *Standard deviation*: how much the entry varies, in its own unit.
- *Error*: median distance from the truth, in the entry's own unit.
- *Outside*: share of real next values outside the model's 90 % interval; 10 % is right."""


def _horizon_table(trust: Trust, model: ModelTrust) -> str:
    errors = model.open_loop
    tested = errors.entries.shape[1]
    steps = sorted({1, *(max(trust.horizon * i // 4, 1) for i in (1, 2, 3, 4, 8))})
    rows = [
        (
            _duration(k, trust.dt),
            _number(over_starts(errors.overall, 0.5)[k - 1]),
            _number(over_starts(errors.overall, 0.9)[k - 1]),
            _number(over_starts(errors.overall_unchanged, 0.9)[k - 1]),
        )
        for k in steps
        if k <= tested
    ]
    return _table(("predicted ahead", "median", "90th percentile", "nothing changes"), rows)


def _entry_table(trust: Trust, model: ModelTrust) -> str:
    errors = model.open_loop
    end = min(trust.horizon, errors.entries.shape[1])
    medians = over_starts(errors.entries, 0.5)
    worst = np.argsort(-medians[end - 1], kind="stable")[:ENTRIES_SHOWN].tolist()
    in_its_unit = medians * errors.scale
    numbers = np.stack([errors.scale, in_its_unit[0], in_its_unit[end - 1]], axis=1)
    rows = [
        (str(entry), *map(_number, numbers[entry].tolist()), f"{outside:.0%}")
        for entry, outside in zip(worst, model.calibration.outside[worst], strict=True)
    ]
    after = f"error after {_duration(end, trust.dt)}"
    columns = ("entry", "standard deviation", "error after 1 step", after, "outside")
    return _table(columns, rows)


def _calibration(model: ModelTrust) -> str:
    found = model.calibration
    error, worst = found.error.mean(), int(found.outside.argmax())
    return f"""## 2. Does the model know how sure it may be?

![observed share against predicted quantile](report_calibration.png)

For each next value the model gives a distribution (the mixture of its members' Gaussians). Where it
says “this lies below with a chance of 30 %”, it should be so in 30 % of the steps: the dashed line.

- *Expected calibration error* {_number(error)}: mean distance of the curves from that line; 0 is
  perfect, 0.5 the worst there is.
- *Outside the 90 % interval* were {found.outside.mean():.0%} of all values; 10 % would be right,
  and more means that reality surprises the model more often than it admits.
- Most often outside was {found.names[worst]}: {found.outside[worst]:.0%} of its values."""


def _disagreement(trust: Trust, model: ModelTrust) -> str:
    end = min(trust.horizon, model.open_loop.entries.shape[1])
    return f"""## 3. Is the model unsure where it is wrong?

![error against uncertainty](report_disagreement.png)

The members of the ensemble saw the same world; where they disagree, they saw too little of it. If
that goes with error, disagreement can stop a robot before it trusts a bad plan. A rank correlation
of 1 means that sorting by doubt is sorting by error, 0 that doubt says nothing.

- *After one step*, members' disagreement and error: {_correlation(model.one_step)}.
- *After {_duration(end, trust.dt)}*, particles' spread and error:
  {_correlation(model.at_horizon)}.

Points above the dashed line are more wrong than unsure."""


def _plan(trust: Trust) -> str:
    if trust.plan is None:
        return (
            "## 4. The plan\n\nThis agent does not plan by MPC: there is no promise to hold it to."
        )
    learned, best = trust.plan.learned, trust.plan.oracle
    rows = [_planner_row("learned model", learned)]
    if isinstance(best, Rehearsal):
        rows.append(_planner_row("true dynamics", best))
        beside = (
            "The oracle is the same planner, with the same search and horizon, whose model is the\n"
            "simulator itself: what it earns more is the price of the model's errors."
        )
    else:
        beside = f"There is no oracle to compare with: {best}."
    columns = ("planning with", "return", "promised by a plan", "then earned", "optimism")
    return f"""## 4. What is a plan worth?

![return so far, and promised against earned return](report_plan.png)

{beside}

{_table(columns, rows)}

- *Return*: sum of rewards over at most {_longest(trust, trust.plan)}; mean of
  {_count(len(learned.evaluation.lengths), "episode")}, from the same start for every planner.
- *Promised*: the return that a plan expected over its horizon of
  {_duration(trust.horizon, trust.dt)}; mean over all steps.
- *Then earned*: what was earned over the same time, planning anew at every step.
- *Optimism*: promised minus earned. Who searches a learned model for the best plan also finds its
  errors in one's favour. The oracle's model has none: its optimism comes from planning anew."""


def _foreseen(trust: Trust, dream: DreamErrors) -> str:
    steps, tested = dream.better_steps, dream.imagined.shape[1]
    if steps == 0:
        return "**What is imagined is no better than to say that nothing changes**, from the start."
    least = "at least " if steps == tested else ""
    return (
        f"**What is imagined is better than to say that nothing changes for "
        f"{least}{_duration(steps, trust.dt)}**; there, imagined rewards are off by "
        f"{_number(float(dream.reward.mean(axis=0)[steps - 1]))} on average."
    )


def _dream(trust: Trust) -> list[str]:
    """Only of agents that dream."""
    if trust.dream is None:
        return []
    dream = trust.dream
    tested = dream.imagined.shape[1]
    columns = [
        errors.mean(axis=0)
        for errors in (dream.imagined, dream.unchanged, dream.reconstructed, dream.reward)
    ]
    steps = [step for step in DREAM_STEPS if step <= tested]
    rows = [
        (_duration(k, trust.dt), *(_number(float(errors[k - 1])) for errors in columns))
        for k in steps
    ]
    names = ("imagined ahead", "imagined", "nothing changes", "reconstructed", "reward")
    return [
        f"""## 5. What does it dream?

![error of imagination against time](report_dream.png)

The model saw {CONTEXT} observations or more of an episode, and was then told only the actions that
were really taken: means over {_count(len(dream.imagined), "start")}. Errors of observations are
mean squared ones, in {dream.unit}; those of rewards are distances. `report.json` has every step,
and `mpc-robot dream` shows it.

{_table(names, rows)}

- *Nothing changes*: had one imagined that all stays as it was last seen.
- *Reconstructed*: what the model makes of an observation that it has seen; imagination can hardly
  be better."""
    ]


def _planner_row(name: str, rehearsal: Rehearsal) -> tuple[str, ...]:
    promised = [
        values.mean() if len(values) else math.nan
        for values in (rehearsal.expected, rehearsal.realised)
    ]
    return (
        name,
        f"{rehearsal.evaluation.mean:.1f}",
        *(_number(value) for value in promised),
        _number(rehearsal.optimism),
    )


def _correlation(ranking: Ranking) -> str:
    value = ranking.correlation
    return "one of them never varies" if math.isnan(value) else f"rank correlation {value:.2f}"


def _duration(steps: int, dt: float) -> str:
    return f"{steps * dt:.3g} s ({_count(steps, 'step')})"


def _count(number: int, thing: str) -> str:
    return f"{number} {thing}{'' if number == 1 else 's'}"


def _number(value: float) -> str:
    """Three digits; words where there is no number."""
    return f"{value:.3g}" if math.isfinite(value) else "not finite"


def _table(columns: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    lines = [columns, ("--:",) * len(columns), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
