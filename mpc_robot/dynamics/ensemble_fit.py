"""Maximum-likelihood training of the probabilistic ensemble, all members in one batched pass."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf
from typing import Literal

import torch
from torch import Tensor

from mpc_robot.data.replay import Experience
from mpc_robot.dynamics.ensemble import ProbabilisticEnsemble
from mpc_robot.errors import ModelDivergedError, require, require_choices

Columns = tuple[Tensor, Tensor, Tensor]
"""Network inputs ``[n, F]``, targets ``[n, O]`` and terminations ``[n]`` of the same rows."""
STILL = 1e-6
"""Scale of what never changes, such as a goal: in imagination it is not to wander either."""


@dataclass(frozen=True)
class FitConfig:
    """How the ensemble learns; values of mbrl-lib's PETS (arXiv:2104.10159) in brackets.

    Attributes:
        learning_rate: of AdamW [7.5e-4].
        weight_decay: of AdamW [3e-5].
        batch_size: rows per member and gradient step [256].
        max_steps: gradient steps at most; small data are passed over more often [no limit].
        patience: epochs without improvement on the hold-out after which a member is done [50].
        improvement: decrease of the hold-out NLL that counts as improvement, nats per output
            [0.01, relative].
        holdout: share of the data kept for early stopping and elites, in (0, 1) [0.2].
        bootstrap: each member learns from its own draw with replacement [PETS]; otherwise all
            share the data and differ by initial weights and the order of batches.
        bound_penalty: weight of the pull on the variance bounds [0.01].
        loss: ``likelihood`` of mean and noise together [PETS], or ``faithful`` (arXiv:2212.09184):
            the mean by least squares, and the noise by the likelihood.
        recent_share: share of what is learned from and held out that is drawn from the latest
            steps alone, in [0, 1) [0]; a pass is then no longer than ``max_steps`` allow.
        recent_steps: how many the latest steps are.
    """

    learning_rate: float = 1e-3
    weight_decay: float = 3e-5
    batch_size: int = 128
    max_steps: int = 500
    patience: int = 8
    improvement: float = 0.01
    holdout: float = 0.1
    bootstrap: bool = False
    bound_penalty: float = 0.01
    loss: Literal["likelihood", "faithful"] = "likelihood"
    recent_share: float = 0.0
    recent_steps: int = 2_500

    def __post_init__(self) -> None:
        """Raises ValueError naming the field that makes no sense."""
        require_choices(self)
        require(0.0 < self.holdout < 1.0, "holdout", "a share in (0, 1)", self.holdout)
        require(0.0 < self.learning_rate < inf, "learning_rate", "positive", self.learning_rate)
        share = 0.0 <= self.recent_share < 1.0
        require(share, "recent_share", "a share in [0, 1)", self.recent_share)
        for name in ("batch_size", "max_steps", "patience", "recent_steps"):
            require(getattr(self, name) >= 1, name, "at least 1", getattr(self, name))
        for name in ("weight_decay", "improvement", "bound_penalty"):
            require(0.0 <= getattr(self, name) < inf, name, "not negative", getattr(self, name))


def fit(
    model: ProbabilisticEnsemble, data: Experience, config: FitConfig, rng: torch.Generator
) -> dict[str, float]:
    """Train ``model`` on ``data [n, ...]``, starting from its present weights.

    Each member keeps the weights with which it did best on the hold-out; the members that did best
    become the elites. ``rng`` draws the hold-out, the bootstrap and the batches. The hold-out is
    drawn anew, so from a warm start its error is that of rows which earlier fits have seen.

    Raises:
        ValueError: if there are fewer than two steps to learn from.
        ModelDivergedError: if no member predicts the hold-out with a finite error; the model is as
            it was before.
    """
    count = len(data.reward)
    if count < 2:
        raise ValueError(f"data: expected at least 2 steps to fit a model, got {count}")
    columns = _columns(model, data)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    held, kept = _split(count, config.holdout, rng)
    model.input_normalizer.fit(columns[0][kept])
    model.target_normalizer.fit(columns[1][kept], unvarying=STILL)
    since = count - config.recent_steps
    held, kept = (_with_recent(part, since, config, rng) for part in (held, kept))
    rows = _rows_of_members(kept, model.config.members, config.bootstrap, rng)
    optimizer = _optimizer(model, config)
    best = BestWeights(model, _holdout_error(model, columns, held))
    steps = 0
    while steps < config.max_steps and not best.finished(config.patience):
        order = torch.rand(rows.shape, generator=rng).argsort(dim=1)
        batches = rows.gather(1, order).split(config.batch_size, dim=1)[: config.max_steps - steps]
        for batch in batches:
            _gradient_step(model, optimizer, columns, batch, config)
        steps += len(batches)
        best.update(_holdout_error(model, columns, held), config.improvement)
    best.restore()
    if not best.error.isfinite().any():
        model.load_state_dict(before)
        raise ModelDivergedError(f"no member fits the {count} steps: errors {best.error.tolist()}")
    model.elites.copy_(best.error.argsort()[: model.config.elites].sort().values)
    model.forget_folded()
    return _report(model, columns, held, steps)


class BestWeights:
    """Each member's weights at its least hold-out error so far.

    The variance bounds, which members share, are those of the last improvement of any.
    """

    def __init__(self, model: ProbabilisticEnsemble, error: Tensor) -> None:
        """``error [M]``: of the weights that ``model`` has now."""
        self.error = torch.where(error.isnan(), torch.inf, error)
        self.stale = torch.zeros_like(error)
        self._parameters = dict(model.named_parameters())
        self._best = {name: value.detach().clone() for name, value in self._parameters.items()}

    def finished(self, patience: int) -> bool:
        """Whether no member has improved for ``patience`` epochs."""
        return bool((self.stale >= patience).all())

    def update(self, error: Tensor, improvement: float) -> None:
        """Keep the weights of members whose ``error [M]`` decreased."""
        better = error < self.error
        significant = error < self.error - improvement
        self.stale = torch.where(significant, 0.0, self.stale + 1.0)
        self.error = torch.where(better, error, self.error)
        for name, value in self._parameters.items():
            shared = value.dim() == 1
            chosen = better.any() if shared else better.view(-1, 1, 1)
            self._best[name] = torch.where(chosen, value.detach(), self._best[name])

    @torch.no_grad()
    def restore(self) -> None:
        """Give the model the best weights back."""
        for name, value in self._parameters.items():
            value.copy_(self._best[name])


def _columns(model: ProbabilisticEnsemble, data: Experience) -> Columns:
    """Network inputs, targets and terminations of all rows, float32."""
    observation = torch.as_tensor(data.observation, dtype=torch.float32)
    action = torch.as_tensor(data.action, dtype=torch.float32)
    terminated = torch.as_tensor(data.terminated, dtype=torch.float32)
    return model.features(observation, action), model.targets(data), terminated


def _split(count: int, holdout: float, rng: torch.Generator) -> tuple[Tensor, Tensor]:
    """Rows held out and rows to learn from, at least one of each."""
    order = torch.randperm(count, generator=rng)
    held = min(max(round(count * holdout), 1), count - 1)
    return order[:held], order[held:]


def _with_recent(rows: Tensor, since: int, config: FitConfig, rng: torch.Generator) -> Tensor:
    """Some of ``rows``, which are in random order, and again of those from row ``since`` on."""
    recent = rows[rows >= since]
    if config.recent_share == 0.0 or since <= 0 or len(recent) == 0:
        return rows
    some = min(len(rows), int((1.0 - config.recent_share) * config.max_steps * config.batch_size))
    again = int(some * config.recent_share / (1.0 - config.recent_share))
    return torch.cat([rows[:some], recent[torch.randint(len(recent), (again,), generator=rng)]])


def _rows_of_members(kept: Tensor, members: int, bootstrap: bool, rng: torch.Generator) -> Tensor:
    """Rows each member learns from ``[M, n]``."""
    if not bootstrap:
        return kept.expand(members, -1)
    return kept[torch.randint(len(kept), (members, len(kept)), generator=rng)]


def _optimizer(model: ProbabilisticEnsemble, config: FitConfig) -> torch.optim.Optimizer:
    """AdamW; weights decay, and the few variance parameters move ten times as fast."""
    network = model.network
    variances = [value for name, value in model.named_parameters() if "variance" in name]
    groups = [
        {"params": list(network.weights), "weight_decay": config.weight_decay},
        {"params": list(network.biases), "weight_decay": 0.0},
        {"params": variances, "weight_decay": 0.0, "lr": 10.0 * config.learning_rate},
    ]
    return torch.optim.AdamW(groups, config.learning_rate, fused=True)


def _gradient_step(
    model: ProbabilisticEnsemble,
    optimizer: torch.optim.Optimizer,
    columns: Columns,
    batch: Tensor,
    config: FitConfig,
) -> None:
    """One step on each member's own rows ``batch [M, B]``."""
    optimizer.zero_grad(set_to_none=True)
    features, targets, terminated = (column[batch] for column in columns)
    bounds = (model.max_log_variance - model.min_log_variance).sum()
    loss = model.nll if config.loss == "likelihood" else model.faithful_loss
    members = loss(features, targets, terminated).sum()
    (members + config.bound_penalty * bounds).backward()
    optimizer.step()


@torch.no_grad()
def _holdout_error(model: ProbabilisticEnsemble, columns: Columns, held: Tensor) -> Tensor:
    """Negative log-likelihood of each member on the hold-out ``[M]``."""
    return model.nll(*_for_all_members(model, columns, held))


def _for_all_members(model: ProbabilisticEnsemble, columns: Columns, rows: Tensor) -> Columns:
    """The same rows for every member ``[M, len(rows), ...]``."""
    features, targets, terminated = (
        column[rows].expand(model.config.members, *column[rows].shape) for column in columns
    )
    return features, targets, terminated


@torch.no_grad()
def _report(
    model: ProbabilisticEnsemble, columns: Columns, held: Tensor, steps: int
) -> dict[str, float]:
    features, targets, terminated = _for_all_members(model, columns, held)
    return {
        "model/nll": model.nll(features, targets, terminated)[model.elites].mean().item(),
        "model/error": model.squared_error(features, targets)[model.elites].mean().item(),
        "model/steps": float(steps),
        "model/rows": float(len(columns[0])),
    }
