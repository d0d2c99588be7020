"""The trust report says of models of known quality what is known of them."""

import dataclasses
import json
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import norm, rankdata

from mpc_robot.agents.pets import PETS, PETSConfig
from mpc_robot.controllers.icem import ICEMConfig
from mpc_robot.data.replay import Experience
from mpc_robot.dynamics.ensemble import EnsembleConfig, ProbabilisticEnsemble
from mpc_robot.dynamics.ensemble_fit import FitConfig
from mpc_robot.envs import EnvSpec, Task, env_spec, get_task, make_env
from mpc_robot.envs.rewards import never
from mpc_robot.training import report
from mpc_robot.training.evaluation import Episode, Evaluation, evaluate
from mpc_robot.training.report_text import markdown
from mpc_robot.training.run_folder import RunFolder
from mpc_robot.training.trust import ModelTrust, PlanTrust, Trust, TrustConfig
from mpc_robot.training.trust_model import (
    LEVELS,
    OpenLoopError,
    Ranking,
    calibration,
    one_step_ranking,
    open_loop_error,
    ranking_after,
)
from mpc_robot.training.trust_plan import Rehearsal

Array = np.ndarray[Any, Any]

# --- Worlds and models of known quality ---------------------------------------------------

SWAY = np.array([[-0.02, 0.1], [-0.1, -0.02], [0.05, 0.2]])
"""Change of an observation of two entries per step: a slow spiral, pushed by one action."""

DRIFT = np.zeros((2, 1))


def world(change: Array, noise: float, steps: int, seed: int, drift: float = 0.0) -> Episode:
    """An episode of ``x += [x, u] @ change + drift + noise``, rewarded with its first entry."""
    rng = np.random.default_rng(seed)
    inputs, dim = change.shape
    actions = rng.uniform(-1, 1, (steps, inputs - dim))
    observations = [rng.normal(size=dim)]
    for action in actions:
        x = observations[-1]
        shift = np.concatenate([x, action]) @ change + drift
        observations.append(x + shift + noise * rng.normal(size=dim))
    seen = np.array(observations)
    return Episode(seen, actions, seen[1:, 0], terminated=False, truncated=True)


def linear_model(
    changes: list[Array], std: float, drift: float = 0.0, learned_reward: bool = False
) -> ProbabilisticEnsemble:
    """An ensemble whose member m says ``x += [x, u] @ changes[m] + drift``, exactly.

    Linear, as ``silu(z) - silu(-z) = z``.
    """
    inputs, outputs = changes[0].shape
    dim = outputs - learned_reward
    spec = EnvSpec(dim, -np.ones(inputs - dim), np.ones(inputs - dim), 0.1, None)
    reward = None if learned_reward else lambda obs, action, next_obs: next_obs[..., 0]
    task = Task("linear", "none", reward=reward, terminated=never)  # type: ignore[arg-type]
    config = EnsembleConfig(
        members=len(changes),
        elites=len(changes),
        particles=len(changes),
        hidden=2 * inputs,
        layers=1,
    )
    model = ProbabilisticEnsemble(task, spec, config, torch.Generator().manual_seed(0))
    identity = torch.eye(inputs)
    with torch.no_grad():
        model.network.weights[0].copy_(torch.cat([identity, -identity], dim=1))
        for m, change in enumerate(changes):
            rows = torch.as_tensor(change, dtype=torch.float32)
            model.network.weights[1][m, :, :outputs].copy_(torch.cat([rows, -rows]))
        model.network.weights[1][..., outputs:] = 0.0
        model.network.biases[1][..., :outputs] = drift
        model.network.biases[1][..., outputs:] = 2 * math.log(std)
        model.min_log_variance.fill_(-40.0)
        model.max_log_variance.fill_(20.0)
    return model


def follow(model: ProbabilisticEnsemble, episodes: list[Episode], horizon: int) -> OpenLoopError:
    return open_loop_error(model, episodes, horizon, torch.Generator().manual_seed(0))


# --- 1. Open loop -------------------------------------------------------------------------


def test_a_model_that_is_the_truth_makes_no_error() -> None:
    episodes = [world(SWAY, 0.0, 100, seed) for seed in (1, 2)]
    errors = follow(linear_model([SWAY] * 5, std=1e-8), episodes, 40)
    assert errors.entries.shape == (122, 40, 2)
    assert errors.entries.max() < 1e-5
    assert errors.spread.max() < 1e-5
    assert np.median(errors.overall_unchanged[:, -1]) > 0.5
    assert errors.trusted_steps(0.01) == 40


def test_an_error_in_the_drift_grows_as_its_closed_form() -> None:
    """A world that moves by 0.5 per step and a model that says 0.6, on 101 even positions."""
    ramp, model = world(DRIFT, 0.0, 100, 0, drift=0.5), linear_model([DRIFT], 1e-8, drift=0.6)
    errors = follow(model, [ramp], 20)
    scale = 0.5 * math.sqrt((101**2 - 1) / 12)
    steps = np.arange(1, 21)
    np.testing.assert_allclose(errors.scale, [scale])
    np.testing.assert_allclose(errors.overall, np.tile(0.1 * steps / scale, (81, 1)), rtol=1e-3)
    np.testing.assert_allclose(errors.overall_unchanged[0], 0.5 * steps / scale)
    assert errors.trusted_steps(0.1 * 7.5 / scale) == 7
    assert errors.trusted_steps(10.0) == 20


def test_a_model_worse_than_nothing_changes_is_never_trusted() -> None:
    ramp = world(DRIFT, 0.0, 50, 0, drift=0.5)
    errors = follow(linear_model([DRIFT], 1e-8, drift=-0.5), [ramp], 10)
    np.testing.assert_allclose(errors.overall, 2 * errors.overall_unchanged, rtol=1e-4)
    assert errors.trusted_steps(1000.0) == 0


def test_one_bad_step_ends_the_trust_even_if_later_ones_are_good() -> None:
    entries = np.array([0.1, 0.2, 0.9, 0.1])[None, :, None]
    errors = OpenLoopError(entries, np.ones_like(entries), entries, np.ones(1))
    assert errors.trusted_steps(0.5) == 2


def test_nine_of_ten_predictions_must_be_good() -> None:
    entries = np.array([0.1] * 90 + [0.8] * 10)[:, None, None]
    errors = OpenLoopError(entries, np.ones_like(entries), entries, np.ones(1))
    assert errors.trusted_steps(0.5) == 0
    assert dataclasses.replace(errors, entries=entries[:95]).trusted_steps(0.5) == 1


def test_particles_of_a_random_walk_spread_with_the_root_of_time() -> None:
    walks = [world(DRIFT, 0.3, 100, seed) for seed in range(10)]
    errors = follow(linear_model([DRIFT] * 5, std=0.3), walks, 25)
    spread = np.sqrt((errors.spread**2).mean(axis=(0, 2))) * errors.scale
    np.testing.assert_allclose(spread[[0, 3, 24]], 0.3 * np.sqrt([1, 4, 25]), rtol=0.2)


def test_a_model_that_explodes_is_infinitely_wrong_and_says_so() -> None:
    episode = world(SWAY, 0.0, 60, 1)
    errors = follow(linear_model([1e9 * SWAY], std=1e-8), [episode], 20)
    assert np.isposinf(errors.entries[:, -1]).all()
    assert not np.isnan(errors.spread).any()
    assert errors.trusted_steps(0.5) == 0
    assert math.isnan(ranking_after(errors, 20).correlation)


def test_an_entry_that_never_varies_is_measured_in_its_own_unit() -> None:
    still = world(DRIFT, 0.0, 10, 0)
    errors = follow(linear_model([DRIFT], 1e-8, drift=0.25), [still], 4)
    np.testing.assert_allclose(errors.overall[0], [0.25, 0.5, 0.75, 1.0], rtol=1e-5)


def test_starts_are_as_many_as_wanted_and_lie_within_episodes() -> None:
    episodes = [world(SWAY, 0.0, steps, 1) for steps in (5, 30)]
    model, rng = linear_model([SWAY], 1e-8), torch.Generator().manual_seed(0)
    assert len(open_loop_error(model, episodes, 10, rng).entries) == 21
    assert len(open_loop_error(model, episodes, 10, rng, max_starts=4).entries) == 4
    with pytest.raises(ValueError, match="episodes: expected one of 31 steps or more, got none"):
        open_loop_error(model, episodes, 31, rng)
    with pytest.raises(ValueError, match="horizon: expected at least 1 step, got 0"):
        open_loop_error(model, episodes, 0, rng)


# --- 2. Calibration -----------------------------------------------------------------------


@pytest.mark.parametrize("confidence", [1 / 3, 1.0, 3.0])
def test_calibration_is_that_of_two_gaussians(confidence: float) -> None:
    """Truth with std 0.1 and a model that says ``confidence * 0.1``."""
    episodes = [world(SWAY, 0.1, 2000, seed) for seed in (1, 2)]
    found = calibration(linear_model([SWAY] * 3, std=confidence * 0.1), episodes)
    right = norm.cdf(confidence * norm.ppf(LEVELS))
    np.testing.assert_allclose(found.observed, np.column_stack([right, right]), atol=0.03)
    np.testing.assert_allclose(found.outside, 2 * norm.cdf(-1.645 * confidence), atol=0.02)
    np.testing.assert_allclose(found.error, np.abs(right - LEVELS).mean(), atol=0.02)


def test_the_members_are_a_mixture() -> None:
    """Each step one of two members is right, drawn at random: only their mixture is calibrated."""
    rng = np.random.default_rng(0)
    sides = np.where(rng.random(4000) < 0.5, -1.0, 1.0)
    x = np.ones((4001, 1))
    x[1:, 0] += sides + 0.1 * rng.normal(size=4000)
    pairs = [
        Episode(np.array([[1.0], after]), np.zeros((1, 1)), np.zeros(1), False, True)
        for after in x[1:]
    ]
    two_sides = [np.array([[side], [0.0]]) for side in (-1.0, 1.0)]
    found = calibration(linear_model(two_sides, std=0.1), pairs)
    assert found.error.max() < 0.02
    assert found.outside[0] == pytest.approx(0.1, abs=0.015)


def test_a_learned_reward_is_calibrated_too() -> None:
    episode = world(SWAY, 0.1, 3000, 1)
    rewards = np.random.default_rng(0).normal(size=3000)
    outputs = np.column_stack([SWAY, np.zeros(3)])
    model = linear_model([outputs], std=0.1, learned_reward=True)
    found = calibration(model, [dataclasses.replace(episode, rewards=rewards)])
    assert found.names == ("entry 0", "entry 1", "reward")
    assert found.outside[:2] == pytest.approx([0.1, 0.1], abs=0.02)
    assert found.outside[2] == pytest.approx(2 * norm.cdf(-0.1645), abs=0.02)


# --- 3. Disagreement ----------------------------------------------------------------------


def test_rank_correlation_is_one_by_construction_and_none_when_shuffled() -> None:
    rng = np.random.default_rng(0)
    unsure = rng.uniform(0.1, 2.0, 2000)
    assert Ranking(unsure, np.exp(3 * unsure)).correlation == pytest.approx(1.0)
    assert Ranking(unsure, -unsure).correlation == pytest.approx(-1.0)
    assert abs(Ranking(unsure, rng.permutation(np.exp(unsure))).correlation) < 0.06
    noisy = unsure + rng.normal(size=2000)
    ranks = np.corrcoef(rankdata(unsure), rankdata(noisy))[0, 1]
    assert Ranking(unsure, noisy).correlation == pytest.approx(ranks)
    assert math.isnan(Ranking(np.ones(9), noisy[:9]).correlation)


def test_members_that_disagree_where_they_err() -> None:
    """They differ by 0.2 |x|, and their mean errs by 0.1 |x|."""
    truth, members = (
        np.array([[-0.9], [0.0]]),
        [np.array([[-0.8 + side], [0.0]]) for side in (0.1, -0.1)],
    )
    starts = np.random.default_rng(0).normal(size=500)
    pairs = [
        Episode(np.array([[x], [x + x * truth[0, 0]]]), np.zeros((1, 1)), np.zeros(1), False, True)
        for x in starts
    ]
    model = linear_model(members, std=0.01)
    ranking = one_step_ranking(model, pairs)
    assert ranking.correlation > 0.999
    np.testing.assert_allclose(ranking.uncertainty, ranking.error, rtol=1e-3, atol=1e-6)
    seen = np.array([pair.observations for pair in pairs])
    np.testing.assert_allclose(
        ranking.error, 0.1 * np.abs(starts) / seen.std(), rtol=1e-3, atol=1e-6
    )


def test_the_ranking_after_some_steps_is_of_that_step() -> None:
    rng = np.random.default_rng(0)
    spread, error = rng.uniform(0.1, 1.0, (2, 50, 3, 1))
    error[:, 1] = spread[:, 1] ** 2
    errors = OpenLoopError(error, error, spread, np.ones(1))
    assert ranking_after(errors, 2).correlation == pytest.approx(1.0)
    assert abs(ranking_after(errors, 1).correlation) < 0.5


# --- The report ---------------------------------------------------------------------------

TINY = PETSConfig(
    ensemble=EnsembleConfig(members=2, elites=2, hidden=16, layers=1, particles=2),
    fit=FitConfig(max_steps=50),
    optimizer=ICEMConfig(num_samples=8, num_elites=2, iterations=1),
    horizon=0.2,
    warmup_steps=60,
)
BALANCE = get_task("CartpoleBalance-v0")
QUICK = TrustConfig(starts=20, rehearsal_steps=25)


def tiny_agent(task: Task) -> PETS:
    """PETS that has learned from 60 steps."""
    env = make_env(task)
    agent = PETS(task, env_spec(env), TINY, seed=0)
    observation, _ = env.reset(seed=0)
    for _ in range(TINY.warmup_steps):
        action = agent.act(observation, explore=True)
        after, reward, terminated, truncated, _ = env.step(action)
        agent.observe(Experience(observation, action, reward, after, terminated, truncated))
        agent.update()
        observation = after
    env.close()
    return agent


def write(folder: Path, task: Task, agent: Any) -> tuple[str, dict[str, Any]]:
    """The report's words and numbers."""
    evaluation = evaluate(task, agent.controller(), 2, 7, max_steps=50)
    report.write_report(RunFolder(folder), task, agent, evaluation, 7, config=QUICK)
    numbers = json.loads(
        (folder / "report.json").read_text(),
        parse_constant=lambda word: pytest.fail(f"{word} is not JSON"),
    )
    return (folder / "report.md").read_text(), numbers


@dataclasses.dataclass(frozen=True)
class Written:
    """A report and what it is of."""

    agent: PETS
    folder: Path
    text: str
    numbers: dict[str, Any]


@pytest.fixture(scope="module", params=["CartpoleBalance-v0", "Pendulum-v1"])
def written(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Written:
    """A report of a tiny run, with and without a simulator."""
    agent, folder = tiny_agent(get_task(request.param)), tmp_path_factory.mktemp("run")
    return Written(agent, folder, *write(folder, agent.task, agent))


def test_a_report_and_all_that_it_mentions_is_there(written: Written) -> None:
    pictures = re.findall(r"!\[[^]]*\]\(([^)]+)\)", written.text)
    assert len(pictures) == 4
    for picture in pictures:
        assert (written.folder / picture).read_bytes().startswith(b"\x89PNG")
    names = {path.name for path in written.folder.iterdir()}
    assert names == {"report.md", "report.json", *pictures}


def test_words_and_numbers_of_a_report_agree(written: Written) -> None:
    text, numbers = written.text, written.numbers
    assert not re.search(r"\b(nan|inf|None)\b", text)
    found = numbers["model"]["open_loop"]
    assert found["trusted_s"] == pytest.approx(found["trusted_steps"] * numbers["dt"])
    assert len(found["p90"]) == 2 * numbers["horizon_steps"]
    assert f"{found['p90'][0]:.3g} |" in text
    has_simulator = numbers["task"] == "CartpoleBalance-v0"
    assert (numbers["plan"]["oracle"] is not None) == has_simulator
    assert ("There is no oracle to compare with" in text) != has_simulator


def test_the_same_seed_gives_the_same_report(tmp_path: Path, written: Written) -> None:
    again = write(tmp_path, written.agent.task, written.agent)
    assert again == (written.text, written.numbers)


def test_a_report_that_fails_leaves_the_last_one(
    tmp_path: Path, written: Written, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "report.md").write_text("the last one")

    def full_disk(*args: Any) -> None:
        raise OSError("no space left")

    monkeypatch.setattr(report, "plot_plan", full_disk)
    with pytest.raises(OSError, match="no space left"):
        write(tmp_path, written.agent.task, written.agent)
    assert (tmp_path / "report.md").read_text() == "the last one"


def test_an_agent_without_model_and_plan(tmp_path: Path, fake_agent: Callable[[int], Any]) -> None:
    text, numbers = write(tmp_path, get_task("Pendulum-v1"), fake_agent(0))
    assert "no model or plan of a kind that is measured here" in text
    assert numbers["model"] is None and numbers["plan"] is None
    assert {path.name for path in tmp_path.iterdir()} == {"report.md", "report.json"}


def rehearsal(reward: float, steps: int) -> Rehearsal:
    """One episode of ``steps`` equal rewards."""
    episode = Episode(
        np.zeros((steps + 1, 1)), np.zeros((steps, 1)), np.full(steps, reward), True, False
    )
    return Rehearsal(Evaluation((episode,), 0.0), np.full(1, reward), np.full(1, reward))


@pytest.mark.parametrize(
    ("learned", "best", "words"),
    [
        (1.5, 2.0, "75.0 with the learned model, against 100.0 with the true dynamics (75%)"),
        (-2.0, -1.5, "-100.0 with the learned model, against -75.0 with the true dynamics"),
        (-2.0, 1.0, "-100.0 with the learned model, against 50.0 with the true dynamics"),
    ],
)
def test_words_on_what_a_better_model_would_gain(learned: float, best: float, words: str) -> None:
    plan = PlanTrust(rehearsal(learned, 50), rehearsal(best, 50))
    evaluation, config = plan.learned.evaluation, TrustConfig(rehearsal_steps=300)
    text = markdown(Trust("t", "A", 0, 0.02, 10, config, evaluation, None, plan))
    assert f"earns {words}**, over at most 1 s (50 steps) from the same start." in text
    assert "on 1 evaluation episode (50 steps, 1.0 s at\n" in text
    assert "over at most 1 s (50 steps); mean of\n  1 episode, from" in text


@pytest.mark.parametrize(
    ("confidence", "verdict"),
    [
        (1 / 3, "The model is over-confident"),
        (1.0, "The model knows how sure it may be"),
        (3.0, "The model is under-confident"),
    ],
)
def test_words_follow_the_numbers(confidence: float, verdict: str) -> None:
    episodes = [world(SWAY, 0.1, 1000, seed) for seed in (1, 2)]
    model = linear_model([SWAY] * 3, std=confidence * 0.1)
    errors = follow(model, episodes, 20)
    ranking = Ranking(np.arange(10.0), np.arange(10.0))
    trust = Trust(
        task="linear",
        agent="Exact",
        seed=0,
        dt=0.1,
        horizon=10,
        config=TrustConfig(threshold=5.0),
        evaluation=Evaluation(tuple(episodes), 0.0),
        model=ModelTrust(errors, calibration(model, episodes), ranking, ranking),
        plan=None,
    )
    text = markdown(trust)
    steps = errors.trusted_steps(5.0)
    assert verdict in text
    assert (
        f"**The model can be trusted for {'at least ' * (steps == 20)}{steps * 0.1:.3g} s" in text
    )
    assert "rank correlation 1.00" in text
    strict = dataclasses.replace(trust, config=TrustConfig(threshold=1e-6))
    assert "cannot be trusted for even one step" in markdown(strict)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("threshold", 0),
        ("threshold", math.nan),
        ("horizon", 0),
        ("horizon", math.inf),
        ("starts", 0),
        ("rehearsals", 0),
        ("rehearsal_steps", 0),
    ],
)
def test_settings_that_make_no_sense(field: str, value: Any) -> None:
    with pytest.raises(ValueError, match=f"{field}: expected .* got {value}"):
        TrustConfig(**{field: value})
