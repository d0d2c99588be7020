"""What recurrent state-space models are trained on, and that they learn a known system."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from tests.dynamics.rssms import BOUNDS, SMALL, VERSIONS, generator, model, sequences

from mpc_robot.data.replay import Experience
from mpc_robot.data.sequences import SequenceReplay, Sequences
from mpc_robot.dynamics.rssm import RSSM, RSSMConfig, RSSMState
from mpc_robot.dynamics.rssm_filter import LatentFilter
from mpc_robot.dynamics.rssm_loss import _unexplained, divergences, model_loss


def reached(loss: torch.Tensor, ours: RSSM) -> set[str]:
    """The parts of the model that a gradient reaches."""
    ours.zero_grad()
    loss.backward()
    parts = ("senses", "embed_in", "posterior_out", "prior", "core")
    return {
        part
        for part in parts
        if any(p.grad is not None and p.grad.any() for p in ours.get_submodule(part).parameters())
    }


@pytest.mark.parametrize("config", VERSIONS.values(), ids=VERSIONS)
def test_each_divergence_trains_its_own_side(config: RSSMConfig) -> None:
    """Of a first observation, before which there was no other posterior."""
    ours, seen = model(config), sequences(length=1)
    _, posterior, prior = ours.observe(seen, generator())
    dynamics, _ = divergences(posterior, prior, replace(SMALL, free_nats=0.0))
    torch.testing.assert_close(dynamics, posterior.kl(prior))
    assert reached(dynamics.sum(), ours) == {"prior", "core"}
    _, posterior, prior = ours.observe(seen, generator())
    _, representation = divergences(posterior, prior, replace(SMALL, free_nats=0.0))
    assert reached(representation.sum(), ours) == {"senses", "embed_in", "posterior_out", "core"}


def test_free_nats_are_free() -> None:
    ours = model()
    _, posterior, prior = ours.observe(sequences(), generator())
    least, most = posterior.kl(prior).min().item(), posterior.kl(prior).max().item()
    dynamics, representation = divergences(posterior, prior, replace(SMALL, free_nats=most + 1.0))
    assert (dynamics == most + 1.0).all() and (representation == most + 1.0).all()
    assert reached((dynamics + representation).sum(), ours) == set()
    between = replace(SMALL, free_nats=(least + most) / 2)
    dynamics, _ = divergences(posterior, prior, between)
    assert (dynamics >= (least + most) / 2).all() and dynamics.max().item() == pytest.approx(most)


def test_free_nats_of_the_mean_bind_no_state() -> None:
    """As in Dreamer v1: a state below them counts as it is where the mean lies above."""
    ours = model()
    _, posterior, prior = ours.observe(sequences(), generator())
    mean = posterior.kl(prior).mean()
    low, high = (replace(SMALL, free="mean", free_nats=k * mean.item()) for k in (0.9, 1.1))
    for of_mean, expected in ((low, mean), (high, torch.tensor(high.free_nats))):
        for divergence in divergences(posterior, prior, of_mean):
            torch.testing.assert_close(divergence, expected)


def test_truncation_is_no_part_of_what_is_learned() -> None:
    ours, seen = model(), sequences()
    yes = torch.ones_like(seen.truncated)

    def loss(which: Sequences) -> float:
        return model_loss(ours, which, generator())[0].item()

    assert loss(replace(seen, truncated=yes)) == loss(seen)
    _, _, metrics = model_loss(ours, replace(seen, terminated=yes), generator())
    assert metrics["model/continue"] == pytest.approx(np.log(2))


def test_what_is_decoded_is_a_fair_share_of_all() -> None:
    """Of 12 steps 3 are decoded: over many draws, the mean loss is that of decoding all."""
    ours, seen = model(VERSIONS["v1"]), sequences(length=12)

    def decoded(share: float, seed: int) -> float:
        ours.config = replace(ours.config, explained=share)
        rng = generator(0)
        states, _, _ = ours.observe(seen, rng)
        loss = _unexplained(ours, states.features, seen, generator(seed))["vector"]
        return loss.mean().item()

    whole = decoded(1.0, 0)
    parts = [decoded(0.25, seed) for seed in range(40)]
    assert len(set(parts)) > 30
    assert np.mean(parts) == pytest.approx(whole, rel=3 * np.std(parts) / whole / np.sqrt(40))


def test_frames_and_vectors_are_seen_and_explained_together() -> None:
    ours = RSSM(BOUNDS, SMALL, generator(), frame_shape=(16, 16, 3), vector_dim=2)
    rng = generator(4)
    assert ours.senses.frame is not None and ours.senses.vector is not None
    for last in (ours.senses.frame.decoder.layers[-1], ours.senses.vector.decoder[-1]):
        torch.nn.init.normal_(last.weight, std=0.01, generator=rng)  # they say the mean at first
    frame = torch.randint(256, (3, 5, 16, 16, 3), generator=rng).to(torch.uint8)
    seen = replace(sequences(), frame=frame)
    loss, states, metrics = model_loss(ours, seen, rng)
    assert metrics.keys() >= {"model/frame", "model/vector", "model/reward", "model/continue"}
    drawn, vector = ours.senses.decode(states.features)
    assert drawn is not None and vector is not None
    assert (drawn.shape, vector.shape) == ((3, 5, 16, 16, 3), (3, 5, 2))
    expected = ((drawn - frame / 255.0) ** 2).sum(dim=(2, 3, 4)).mean().item()
    assert metrics["model/frame"] == pytest.approx(expected, rel=1e-4)
    loss.backward()
    for part in (ours.senses.frame.encoder, ours.senses.vector.encoder):
        assert any(p.grad is not None and p.grad.any() for p in part.parameters())
    belief = LatentFilter(ours)
    both = {"frame": frame[0, 0].numpy(), "vector": np.zeros(2)}
    assert belief.update(both, None).shape == (ours.features,)


def test_same_seed_same_bits() -> None:
    def trained(seed: int) -> dict[str, torch.Tensor]:
        ours, rng = model(seed=seed), generator(seed)
        optimizer = torch.optim.Adam(ours.parameters(), lr=1e-3)
        for _ in range(2):
            loss, _, _ = model_loss(ours, sequences(), rng)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        return ours.state_dict()

    one, same, other = trained(1), trained(1), trained(2)
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert not all(torch.equal(one[name], other[name]) for name in one)


MATRIX, PUSH = np.array([[1.0, 0.2], [-0.2, 0.9]]), np.array([0.0, 0.3])


def parts(seen: Sequences, which: Any) -> Sequences:
    """Some rows or steps of sequences without frames."""
    names = ("vector", "action", "reward", "is_first", "terminated", "truncated")
    return Sequences(None, *(getattr(seen, name)[which] for name in names))


def experience(episodes: int, length: int, seed: int) -> SequenceReplay:
    """A spring with friction that is pushed at random; the reward is its position."""
    rng, replay = np.random.default_rng(seed), SequenceReplay(1, vector_dim=2, capacity=10_000)
    for _ in range(episodes):
        x = rng.normal(size=2)
        for step in range(length):
            u = rng.uniform(-2, 2, 1)
            after = MATRIX @ x + PUSH * u
            replay.add(Experience(x, u, after[0], after, False, step == length - 1))
            x = after
    return replay


def test_a_linear_system_is_predicted() -> None:
    """Eight steps ahead, open loop: the mean of ten futures is off by a tenth of the variance."""
    config = replace(VERSIONS["v1"], decoder_scale=50.0, free_nats=1.0)
    ours, replay, rng = model(config), experience(40, 24, 0), generator()
    optimizer = torch.optim.Adam(ours.parameters(), lr=4e-3)
    for _ in range(150):
        loss, _, _ = model_loss(ours, replay.sample(16, 10, rng), rng)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(ours.parameters(), 100.0)
        optimizer.step()
    truth = experience(60, 12, 1).sample(200, 13, rng)
    starts = truth.is_first[:, 1:].any(dim=1).logical_not()  # that lie in one episode
    truth = parts(truth, starts)
    assert truth.vector is not None
    with torch.no_grad():
        states, _, _ = ours.observe(parts(truth, (slice(None), slice(5))), rng)
        state = RSSMState(states.deter[:, -1], states.stoch[:, -1])
        futures = [ours.rollout(state, truth.action[:, 5:], rng) for _ in range(10)]
        drawn = [ours.senses.decode(each.observations[:, 0, 1:])[1] for each in futures]
        vector = torch.stack([each for each in drawn if each is not None]).mean(dim=0)
        reward = torch.stack([each.rewards[:, 0] for each in futures]).mean(dim=0)
    wrong = ((vector - truth.vector[:, 5:]) ** 2).mean(dim=(0, 2))
    assert (wrong < 0.1 * truth.vector.var()).all()
    missed = ((reward - truth.reward[:, 5:]) ** 2).mean()
    assert missed < 0.1 * truth.reward.var()


@pytest.mark.parametrize("config", VERSIONS.values(), ids=VERSIONS)
def test_the_loss_weighs_its_parts_as_the_config_says(config: RSSMConfig) -> None:
    odd = replace(
        config,
        decoder_scale=2.0,
        reward_scale=3.0,
        dynamics_scale=5.0,
        representation_scale=7.0,
        free_nats=0.0,
    )
    loss, _, metrics = model_loss(model(odd), sequences(), generator())
    scales = {"vector": 2.0, "reward": 3.0, "continue": 1.0, "dynamics": 5.0, "representation": 7.0}
    expected = sum(scale * metrics[f"model/{name}"] for name, scale in scales.items())
    assert loss.item() == pytest.approx(expected, rel=1e-5)


def test_versions_weigh_divergences_as_their_papers_do() -> None:
    """arXiv:1912.01603 and arXiv:2010.02193, algorithm 2; arXiv:2301.04104v2, eq. 2."""
    fields = ("dynamics_scale", "representation_scale", "free_nats", "free")
    of = {name: tuple(getattr(VERSIONS[name], field) for field in fields) for name in VERSIONS}
    assert of["v1"] == (1.0, 1.0, 3.0, "mean")
    assert of["v2"] == (0.8, 0.2, 0.0, "mean")
    assert of["v3"] == (1.0, 0.1, 1.0, "state")


@pytest.mark.parametrize(("terminated", "missed"), [(False, np.log1p(np.exp(-3))), (True, 3.0486)])
def test_a_model_that_holds_that_all_goes_on_is_wrong_about_ends(
    terminated: bool, missed: float
) -> None:
    ours, seen = model(), sequences()
    torch.nn.init.constant_(ours.continues.network[-1].bias, 3.0)
    ends = torch.full_like(seen.terminated, terminated)
    _, _, metrics = model_loss(ours, replace(seen, terminated=ends), generator())
    assert metrics["model/continue"] == pytest.approx(missed, rel=1e-4)
