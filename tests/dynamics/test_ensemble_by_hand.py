"""How the ensemble learns and draws, row by row: what it may see, and how its steps are made."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from mpc_robot.data.replay import Experience
from mpc_robot.dynamics import ensemble_fit
from mpc_robot.dynamics.ensemble import EnsembleConfig, ProbabilisticEnsemble
from mpc_robot.dynamics.ensemble_fit import BestWeights, FitConfig, fit
from mpc_robot.envs.base import EnvSpec, Task

SPEC, TASK = EnvSpec(2, -np.ones(1), np.ones(1), 0.1, 100), Task("all learned", "")
SMALL = EnsembleConfig(members=3, elites=3, hidden=8, layers=1, particles=3)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def ensemble(config: EnsembleConfig = SMALL) -> ProbabilisticEnsemble:
    """Whose members say something, in units of their own."""
    model, rng = ProbabilisticEnsemble(TASK, SPEC, config, generator()), generator(1)
    with torch.no_grad():
        for parameter in model.network.parameters():
            parameter.normal_(generator=rng)
        model.target_normalizer.mean.copy_(torch.tensor([1.0, -2.0, 0.5]))
        model.target_normalizer.std.copy_(torch.tensor([0.5, 2.0, 3.0]))
    return model


def experience(count: int) -> Experience:
    rng, no = np.random.default_rng(0), np.zeros(count, dtype=bool)
    seen, reached = rng.normal(size=(2, count, 2))
    return Experience(seen, rng.normal(size=(count, 1)), rng.normal(size=count), reached, no, no)


def test_a_step_is_what_one_member_predicts_plus_its_noise() -> None:
    """Seven rows are dealt to three members, three each; who is left over is asked once more."""
    model, (state, action) = ensemble(), torch.randn(2, 7, 2, generator=generator(2))
    action = action[:, :1]
    step = model.step(state, action, generator(3))
    rng = generator(3)
    order, noise = torch.randperm(9, generator=rng).tolist(), torch.randn(3, 3, 3, generator=rng)
    said = model.predict(state, action)
    for row in range(7):
        member, place = divmod(order.index(row), 3)
        drawn = said.mean[member, row] + said.variance[member, row].sqrt() * noise[member, place]
        torch.testing.assert_close(step.state[row], drawn[:2])
        torch.testing.assert_close(step.reward[row], drawn[2])
        torch.testing.assert_close(step.continues[row], said.continues[member, row])


def test_log_variances_keep_softly_within_their_bounds() -> None:
    model = ensemble()
    with torch.no_grad():
        model.max_log_variance.fill_(2.0)
        model.min_log_variance.fill_(-6.0)
        bounded = model.bounded(torch.tensor([[-1e3] * 3, [-2.0] * 3, [1e3] * 3]))
    torch.testing.assert_close(bounded[:, 0], torch.tensor([-6.0, -2.0, 2.0]), atol=0.04, rtol=0.0)


@pytest.mark.parametrize("loss", ["nll", "faithful_loss"])
def test_losses_by_hand(loss: str) -> None:
    """Three members, two rows: what is likely of each output, and whether it is over."""
    model = ensemble()
    features, targets = torch.randn(2, 3, 2, 3, generator=generator(4))
    over = torch.tensor([[0.0, 1.0], [1.0, 1.0], [0.0, 0.0]])
    mean, log_variance, odds = model.heads(features)
    for member in range(3):
        expected = torch.zeros(())
        for row in range(2):
            chance = torch.sigmoid(odds[member, row])
            expected = expected - (chance if over[member, row] else 1.0 - chance).log() / 2
            for i in range(3):
                scaled = (targets[member, row, i] - model.target_normalizer.mean[i]) / (
                    model.target_normalizer.std[i]
                )
                error, spread = scaled - mean[member, row, i], log_variance[member, row, i]
                likely = 0.5 * (error**2 / spread.exp() + spread)
                if loss == "faithful_loss":
                    typical = log_variance[member, :, i].exp().sum().detach() / 2
                    likely = 0.5 * error**2 / typical
                    likely = likely + 0.5 * (error.detach() ** 2 / spread.exp() + spread)
                expected = expected + likely / 6
        found = getattr(model, loss)(features, targets, over)[member]
        torch.testing.assert_close(found, expected)
        parameters = [*model.network.parameters(), model.max_log_variance, model.min_log_variance]
        pairs = zip(
            torch.autograd.grad(found, parameters, retain_graph=True),
            torch.autograd.grad(expected, parameters, retain_graph=True),
            strict=True,
        )
        for ours, theirs in pairs:
            torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("share", [0.0, 0.5])
@pytest.mark.parametrize("bootstrap", [False, True])
def test_what_is_held_out_is_not_learned_from(
    share: float, bootstrap: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    learned, held, count = set[int](), set[int](), 100
    step, error = ensemble_fit._gradient_step, ensemble_fit._holdout_error

    def stepping(model: Any, optimizer: Any, columns: Any, batch: Tensor, config: Any) -> None:
        learned.update(batch.flatten().tolist())
        step(model, optimizer, columns, batch, config)

    def judging(model: Any, columns: Any, rows: Tensor) -> Tensor:
        held.update(rows.tolist())
        return error(model, columns, rows)

    monkeypatch.setattr(ensemble_fit, "_gradient_step", stepping)
    monkeypatch.setattr(ensemble_fit, "_holdout_error", judging)
    model, data = ensemble(), experience(count)
    config = FitConfig(
        max_steps=60,
        batch_size=16,
        holdout=0.2,
        bootstrap=bootstrap,
        recent_share=share,
        recent_steps=30,
    )
    fit(model, data, config, generator())
    assert len(held) == 20 and len(learned) > 60 and not held & learned
    if not bootstrap:
        kept = sorted(learned)
        assert len(kept) == 80
        mean = np.concatenate([data.observation, data.action], axis=1)[kept].mean(axis=0)
        np.testing.assert_allclose(model.input_normalizer.mean, mean, atol=1e-6)
        change = (data.next_observation - data.observation)[kept]
        np.testing.assert_allclose(model.target_normalizer.mean[:2], change.mean(0), atol=1e-6)


def test_weights_alone_decay_and_variances_move_ten_times_as_fast() -> None:
    """The first step of AdamW is its rate along the sign of the gradient, here 1 everywhere."""
    model = ensemble()
    before = {name: value.detach().clone() for name, value in model.named_parameters()}
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    ensemble_fit._optimizer(model, FitConfig(learning_rate=0.01, weight_decay=2.0)).step()
    for name, value in model.named_parameters():
        kept = 0.98 if "weights" in name else 1.0
        moved = 0.1 if "variance" in name else 0.01
        torch.testing.assert_close(value, kept * before[name] - moved)


def test_variance_bounds_are_drawn_together() -> None:
    gaps = []
    for penalty in (0.0, 100.0):
        model = ensemble()
        config = FitConfig(max_steps=5, learning_rate=1e-3, bound_penalty=penalty)
        columns = ensemble_fit._columns(model, experience(50))
        optimizer = ensemble_fit._optimizer(model, config)
        for _ in range(5):
            rows = torch.arange(50).expand(3, -1)
            ensemble_fit._gradient_step(model, optimizer, columns, rows, config)
        gaps.append((model.max_log_variance - model.min_log_variance).detach())
    torch.testing.assert_close(gaps[1], torch.full((3,), 10.5 - 2 * 5 * 0.01), atol=1e-3, rtol=0.0)
    assert (gaps[0] > gaps[1]).all()


def test_each_member_keeps_its_best_and_is_done_when_it_hardly_improves() -> None:
    model = ensemble()
    best = BestWeights(model, torch.tensor([1.0, 1.0, torch.nan]))
    errors = [[0.7, 2.0, 3.0], [0.65, 0.95, 3.5], [0.64, 0.94, 4.0]]
    finished = []
    for said, error in enumerate(errors):
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.fill_(float(said))
        best.update(torch.tensor(error), improvement=0.1)
        finished.append(best.finished(2))
    best.restore()
    assert finished == [False, False, True]
    assert model.network.biases[-1][:, 0, 0].tolist() == [2.0, 2.0, 0.0]
    torch.testing.assert_close(best.error, torch.tensor([0.64, 0.94, 3.0]))
