"""What a world model imagines, by models of known quality, and how it is shown."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import imageio.v2 as imageio
import numpy as np
import pytest
import torch
from torch import Tensor

from mpc_robot.data.sequences import Sequences
from mpc_robot.envs import get_task
from mpc_robot.training.dream_video import dreamt_episode, film_dream, plot_dream
from mpc_robot.training.evaluation import Episode
from mpc_robot.training.trust_dream import dream_errors, explain, sequence_of

SIDE = 4


@dataclass(frozen=True)
class Place:
    place: Tensor


class Walk:
    """A WorldModel that knows: what is seen is a place, which actions move.

    What it imagines is off by ``drift`` a step, and what it reconstructs by ``blur``. Frames are
    even pictures, whose shade is the place.
    """

    device = torch.device("cpu")

    def __init__(self, drift: float = 0.0, blur: float = 0.0, *, frames: bool = False) -> None:
        self.drift, self.blur, self.frames = drift, blur, frames

    def told(self, seen: Sequences) -> Tensor:
        if seen.frame is not None:
            return seen.frame.float() / 255.0
        assert seen.vector is not None
        return seen.vector

    def explain(self, seen: Sequences, rng: torch.Generator) -> Place:
        told = self.told(seen)[0]
        return Place(told[:, 0, 0, :1] if self.frames else told)

    def imagine(self, state: Place, action: Tensor, rng: torch.Generator) -> Place:
        return Place(state.place + action + self.drift)

    def show(self, state: Place) -> Tensor:
        seen = state.place + self.blur
        return seen[..., None, None, :].expand(-1, SIDE, SIDE, 3) if self.frames else seen

    def earned(self, state: Place) -> Tensor:
        return 2.0 * state.place[..., 0]


def episode(steps: int, seed: int = 0, *, frames: bool = False) -> Episode:
    """A walk, rewarded with twice its place; of frames, between 0.2 and 0.8."""
    rng = np.random.default_rng(seed)
    actions = rng.normal(size=(steps, 1))
    if frames:  # by whole shades
        places = rng.integers(51, 204, (steps + 1, 1)) / 255.0
        actions = np.diff(places, axis=0)
    else:
        places = np.concatenate([[[0.3]], 0.3 + actions.cumsum(axis=0)])
    seen = places
    if frames:
        shades = np.round(255.0 * places).astype(np.uint8)
        seen = np.broadcast_to(shades[:, :, None, None], (steps + 1, SIDE, SIDE, 3)).copy()
    return Episode(seen, actions, 2.0 * places[1:, 0], terminated=False, truncated=True)


def rng() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def test_an_episode_is_a_sequence_of_what_led_to_each_observation() -> None:
    real = episode(6)
    seen = sequence_of(real)
    assert seen.vector is not None and seen.frame is None
    np.testing.assert_allclose(seen.vector[0].numpy(), real.observations, rtol=1e-6)
    np.testing.assert_allclose(seen.action[0, 1:].numpy(), real.actions, rtol=1e-6)
    np.testing.assert_allclose(seen.reward[0, 1:].numpy(), real.rewards, rtol=1e-6)
    assert (seen.action[0, 0], seen.reward[0, 0]) == (0.0, 0.0)
    assert seen.is_first[0].tolist() == [True] + 6 * [False]
    assert seen.truncated[0].tolist() == 6 * [False] + [True] and not seen.terminated.any()


@pytest.mark.parametrize("frames", [False, True])
def test_a_true_model_imagines_what_happens(frames: bool) -> None:
    real = [episode(30, seed, frames=frames) for seed in (1, 2)]
    errors = dream_errors(Walk(frames=frames), real, rng(), ahead=12)
    assert errors.imagined.shape == errors.reward.shape == (20, 12)
    np.testing.assert_allclose(errors.imagined, 0.0, atol=1e-9)
    np.testing.assert_allclose(errors.reconstructed, 0.0, atol=1e-9)
    np.testing.assert_allclose(errors.reward, 0.0, atol=1e-5)
    assert errors.better_steps == 12
    assert errors.unit == ("shades²" if frames else "standard deviations²")


def test_errors_grow_as_a_model_drifts_and_are_told_in_standard_deviations() -> None:
    real = [episode(40)]
    errors = dream_errors(Walk(drift=0.5, blur=0.25), real, rng(), ahead=8)
    spread, step = real[0].observations.std(), np.arange(1, 9)
    expected = ((0.5 * step + 0.25) / spread) ** 2
    np.testing.assert_allclose(errors.imagined, np.tile(expected, (10, 1)), rtol=1e-4)
    np.testing.assert_allclose(errors.reconstructed, (0.25 / spread) ** 2, rtol=1e-4)
    np.testing.assert_allclose(errors.reward, np.tile(step, (10, 1)), rtol=1e-4)


def test_the_error_of_saying_that_nothing_changes_is_how_far_it_went() -> None:
    """From the step on at which there is just enough left, for such a short episode."""
    real = episode(12)
    errors = dream_errors(Walk(), [real], rng(), ahead=8)
    place = real.observations[:, 0]
    went = ((place[5:] - place[4]) / place.std()) ** 2
    np.testing.assert_allclose(errors.unchanged, went[None], rtol=1e-4)


def test_frames_err_in_shades() -> None:
    errors = dream_errors(Walk(drift=0.01, frames=True), [episode(20, frames=True)], rng(), 5)
    expected = (0.01 * np.arange(1, 6)) ** 2
    np.testing.assert_allclose(errors.imagined, np.tile(expected, (10, 1)), rtol=1e-2)


def test_short_episodes_are_left_out_and_all_short_ones_refused() -> None:
    errors = dream_errors(Walk(), [episode(9), episode(30, 1)], rng(), ahead=20)
    assert errors.imagined.shape == (7, 20)
    assert dream_errors(Walk(), [episode(9)], rng()).imagined.shape == (1, 5)
    with pytest.raises(ValueError, match="episodes: expected one of at least 5 steps, got 4"):
        dream_errors(Walk(), [episode(4)], rng())


def test_it_sees_and_imagines_in_turns() -> None:
    real = episode(20)
    dreamt = dreamt_episode(Walk(drift=0.5, blur=0.25), real, rng(), ahead=6)
    turns = [0, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5]
    assert dreamt.ahead.tolist() == turns
    truth, reconstructed, imagined = dreamt.views
    np.testing.assert_allclose(truth, real.observations, rtol=1e-6)
    np.testing.assert_allclose(reconstructed - truth, 0.25, rtol=1e-4)
    off = 0.25 + 0.5 * np.array(turns)[:, None]
    np.testing.assert_allclose(imagined - truth, off, rtol=1e-3)
    earned, said = dreamt.rewards
    assert np.isnan(earned[0]) and np.isnan(said[0])
    np.testing.assert_allclose((said - earned)[1:], turns[1:], rtol=1e-3, atol=1e-5)


def test_frames_are_filmed_at_the_pace_of_the_task(tmp_path: Path) -> None:
    real = episode(24, frames=True)
    dreamt = dreamt_episode(Walk(frames=True), real, rng(), ahead=6)
    film_dream(dreamt, get_task("CartpoleBalance-v0"), tmp_path / "dream.mp4")
    with imageio.get_reader(tmp_path / "dream.mp4") as video:  # at 50 Hz, every other step
        frames = [np.asarray(frame) for frame in video]
        assert video.get_meta_data()["fps"] == 25.0
    assert len(frames) == 13
    for frame, truth in zip(
        frames, explain(Walk(frames=True), real, rng()).truth[::2], strict=True
    ):
        height, width, _ = frame.shape
        panels = [frame[height // 3, width * (2 * i + 1) // 6].mean() / 255.0 for i in range(3)]
        assert panels == pytest.approx([float(truth.mean())] * 3, abs=0.04)


def test_vectors_are_drawn(tmp_path: Path) -> None:
    dreamt = dreamt_episode(Walk(), episode(24), rng(), ahead=6)
    plot_dream(dreamt, 0.1, tmp_path / "dream.png")
    assert imageio.imread(tmp_path / "dream.png").std() > 10
