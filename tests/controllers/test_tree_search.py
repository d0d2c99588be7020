from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.controllers.reference_search import PUCT, UCT, Gumbel, Node, Outcome, Search

from mpc_robot.controllers.tree_rules import (
    GumbelConfig,
    PUCTConfig,
    RuleConfig,
    UCTConfig,
    Widening,
    dirichlet,
    halving,
    sequential_halving,
)
from mpc_robot.controllers.tree_search import Decision, SearchConfig, TreeSearch, search
from mpc_robot.controllers.tree_selection import lot
from mpc_robot.controllers.trees import Trees
from mpc_robot.dynamics.base import Sensed
from mpc_robot.dynamics.search_model import Expansion, Ints, Nodes
from mpc_robot.errors import ModelDivergedError

STATES, ACTIONS = 500, 5
UCT_RULE = UCTConfig(exploration=UCT.c)
PUCT_RULE = PUCTConfig(dirichlet_fraction=0.0)
RULES = (UCT_RULE, PUCT_RULE, GumbelConfig(considered=4))


class Table:
    """A world of random numbers: what follows an action is written in tables."""

    observes: Sensed = "observation"

    def __init__(
        self, seed: int = 0, *, players: int = 1, ends: float = 0.1, states: int = STATES
    ) -> None:
        rng = np.random.default_rng(seed)
        self.following = rng.integers(states, size=(states, ACTIONS))
        self.reward = rng.normal(size=(states, ACTIONS))
        self.discount = np.where(rng.random((states, ACTIONS)) < ends, 0.0, 0.9)
        self.value, self.logits = rng.normal(size=states), rng.normal(size=(states, ACTIONS))
        self.legal = rng.random((states, ACTIONS)) < 0.8
        self.legal[:, 0] |= ~self.legal.any(axis=1)
        self.player = rng.integers(players, size=states)

    def nodes(self, state: Ints) -> Nodes[Ints]:
        tables = (self.value, self.logits, self.legal, self.player)
        return Nodes(state, *(table[state] for table in tables))  # type: ignore[arg-type]

    def root(self, sensed: Any, rng: np.random.Generator) -> Nodes[Ints]:
        return self.nodes(np.asarray(sensed, dtype=np.int64).reshape(len(sensed)))

    def expand(self, embedding: Ints, action: Ints, rng: np.random.Generator) -> Expansion[Ints]:
        at = (embedding, action)
        return Expansion(self.reward[at], self.discount[at], self.nodes(self.following[at]))

    def vector(self, embedding: Ints, action: Ints) -> npt.NDArray[np.float64]:
        return action[:, None].astype(np.float64)

    def outcome(self, state: int, reward: float = 0.0, discount: float = 1.0) -> Outcome:
        logits, legal = self.logits[state].tolist(), self.legal[state].tolist()
        player = int(self.player[state])
        return Outcome(state, self.value[state], logits, legal, player, reward, discount)

    def step(self, state: int, action: int) -> Outcome:
        at = (state, action)
        return self.outcome(int(self.following[at]), self.reward[at], self.discount[at])


def seeded(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def searched(
    model: Any, roots: Any, rule: RuleConfig, simulations: int = 48
) -> tuple[Decision, Trees[Any]]:
    rng = seeded()
    trees = Trees(model.root(roots, rng), rng)
    return search(model, trees, SearchConfig(rule, simulations), rng), trees


def assert_alike(trees: Trees[Any], row: int, node: int, expected: Node) -> None:
    """The same counts and Q in a whole tree."""
    edges = trees.arrays.edges[row, node]
    assert trees.arrays.nodes[row, node].visits == expected.visits
    assert edges["count"].tolist() == expected.counts()
    for action, child in expected.children.items():
        assert edges[action].q == pytest.approx(expected.q(action), abs=1e-9)
        assert_alike(trees, row, edges[action].child, child)


def coin_of(trees: Trees[Any], row: int) -> Callable[[int, int], int]:
    seed = trees.arrays.trees[row].seed
    return lambda node, action: int(lot(seed, node, action))


@pytest.mark.parametrize("players", [1, 2])
@pytest.mark.parametrize(("rule", "reference"), [(UCT_RULE, UCT), (PUCT_RULE, PUCT)])
def test_trees_equal_those_of_a_plain_recursive_search(
    rule: RuleConfig, reference: type[Search], players: int
) -> None:
    model, roots = Table(players=players), np.arange(5)
    decision, trees = searched(model, roots, rule, 200)
    for row, state in enumerate(roots):
        root = Node(model.outcome(state))
        expected = reference(model.step, root, coin_of(trees, row)).run(200)
        assert_alike(trees, row, 0, expected)
        assert decision.value[row] == pytest.approx(expected.total / expected.visits)
        assert expected.count(decision.action[row]) == max(expected.counts())
        np.testing.assert_allclose(decision.policy[row], np.array(expected.counts()) / 200)


@pytest.mark.parametrize("players", [1, 2])
@pytest.mark.parametrize(
    ("considered", "simulations", "least_range"), [(2, 16, 1e-8), (4, 32, 1e-8), (8, 48, 2.0)]
)
def test_gumbel_trees_equal_those_of_the_paper_by_the_letter(
    players: int, considered: int, simulations: int, least_range: float
) -> None:
    model, roots, rng = Table(players=players), np.arange(5), seeded()
    model.legal[:5] = True
    trees = Trees(model.root(roots, rng), rng)
    before = copy.deepcopy(rng)
    rule = GumbelConfig(considered=min(considered, ACTIONS), least_range=least_range)
    decision = search(model, trees, SearchConfig(rule, simulations), rng)
    noise, _ = halving(rule, model.legal[:5], simulations, before)
    for row, state in enumerate(roots):
        root = Node(model.outcome(state))
        given_it = noise[row], rule.considered, simulations
        oracle = Gumbel(model.step, root, *given_it, least_range=least_range)
        oracle.run(simulations)
        assert_alike(trees, row, 0, root)
        assert decision.action[row] == oracle.best()
        policy = oracle.improved(root)
        expected = [policy.get(a, 0.0) for a in range(ACTIONS)]
        np.testing.assert_allclose(decision.policy[row], expected, atol=1e-12)


def test_a_tree_computed_by_hand() -> None:
    """UCT with c = 0 on a chain: rewards 1 and 2, discount 0.5, value 4 at the end of it."""
    model = Table(ends=0.0)
    model.legal[:] = [True, False, False, False, False]
    model.following[:3, 0], model.reward[:3, 0] = [1, 2, 3], [1.0, 2.0, 3.0]
    model.discount[:3, 0], model.value[:4] = 0.5, [10.0, 6.0, 8.0, 4.0]
    decision, trees = searched(model, [0], UCTConfig(exploration=0.0), 3)
    nodes, edges = trees.arrays.nodes[0], trees.arrays.edges[0]
    # Returns from the root: 10 by its own value; 1 + 6/2; 1 + (2 + 8/2)/2; 1 + (2 + (3 + 4/2)/2)/2.
    assert decision.value[0] == pytest.approx((10 + 4 + 4 + 3.25) / 4)
    assert nodes["visits"].tolist() == [4, 3, 2, 1]
    assert nodes["total"].tolist() == pytest.approx([21.25, 6 + 6 + 4.5, 8 + 5, 4])
    assert edges["q"][:3, 0].tolist() == pytest.approx([1 + 16.5 / 6, 2 + 13 / 4, 3 + 4 / 2])
    assert (decision.visits[0] == [3, 0, 0, 0, 0]).all()


def test_what_one_player_wins_the_other_loses() -> None:
    """Player 0, then player 1 twice, then player 0: signs change with the player, not the depth."""
    model = Table(ends=0.0)
    model.legal[:] = [True, False, False, False, False]
    model.following[:3, 0], model.reward[:3, 0] = [1, 2, 3], [1.0, 2.0, 3.0]
    model.discount[:3, 0], model.value[:4] = 1.0, [0.0, 0.0, 0.0, 10.0]
    model.player[:4] = [0, 1, 1, 0]
    _, trees = searched(model, [0], UCTConfig(exploration=0.0), 3)
    last = 3.0 - 10.0  # of player 1, who moves last
    returns = [0.0, 1.0 - 0.0, 1.0 - 2.0, 1.0 - (2.0 + last)]
    assert trees.arrays.nodes[0, 0].total == pytest.approx(sum(returns))
    assert trees.arrays.edges[0, 2, 0].q == pytest.approx(last)


@dataclass
class Bandit:
    """One step: action ``a`` earns ``means[a]`` and noise, and the episode ends."""

    means: Any
    noise: float = 0.0
    legal: Any = None
    logits: Any = None

    def root(self, sensed: Any, rng: np.random.Generator) -> Nodes[Any]:
        batch, arms = len(sensed), len(self.means)
        logits = np.zeros(arms) if self.logits is None else np.asarray(self.logits, float)
        legal = np.ones(arms, bool) if self.legal is None else np.asarray(self.legal)
        return Nodes(
            np.zeros((batch, 1)),
            np.zeros(batch),
            np.tile(logits, (batch, 1)),
            np.tile(legal, (batch, 1)),
        )

    def expand(self, embedding: Any, action: Ints, rng: np.random.Generator) -> Expansion[Any]:
        reward = np.asarray(self.means)[action] + self.noise * rng.normal(size=len(action))
        return Expansion(reward, np.zeros(len(action)), self.root(action, rng))


@pytest.mark.parametrize("rule", RULES)
def test_the_best_arm_of_a_bandit_is_found_and_tried_most(rule: RuleConfig) -> None:
    decision, _ = searched(Bandit([0.2, 0.5, 0.9, 0.1]), np.zeros(20), replace_noise(rule), 200)
    assert (decision.action == 2).all()
    assert (decision.visits[:, 2] == decision.visits.max(axis=1)).all()
    np.testing.assert_allclose(decision.q[0], [0.2, 0.5, 0.9, 0.1])


def replace_noise(rule: RuleConfig) -> RuleConfig:
    """The rule without Gumbel noise."""
    return replace(rule, noise=0.0) if isinstance(rule, GumbelConfig) else rule


@pytest.mark.parametrize("rule", RULES)
def test_illegal_actions_are_never_tried(rule: RuleConfig) -> None:
    bandit = Bandit([0.2, 0.5, 9.0, 0.1], legal=[True, True, False, True], logits=[0, 0, 99.0, 0])
    decision, _ = searched(bandit, np.zeros(3), replace_noise(rule), 50)
    assert (decision.visits[:, 2] == 0).all()
    assert (decision.policy[:, 2] == 0).all()
    assert (decision.action == 1).all()


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_never_good(rule: RuleConfig, bad: float) -> None:
    decision, trees = searched(Bandit([0.2, bad, 0.1, bad]), np.zeros(3), replace_noise(rule), 50)
    assert (decision.visits[:, [1, 3]] == 0).all()
    assert (decision.action == 0).all()
    assert np.isfinite(decision.value).all()
    assert np.isfinite(trees.arrays.nodes["total"]).all()


@pytest.mark.parametrize("rule", RULES)
def test_a_state_that_leads_nowhere_finite_is_given_up(rule: RuleConfig) -> None:
    model = Table(ends=0.0)
    model.legal[:], model.following[0] = True, np.arange(1, 1 + ACTIONS)
    model.reward[0], model.logits[0], model.value[1:] = 0.0, 0.0, 0.0
    model.value[2], model.reward[2] = 100.0, np.nan  # looks best, and all that follows is NaN
    decision, trees = searched(model, [0], replace_noise(rule), 60)
    assert not trees.arrays.edges[0, 0, 1].legal
    assert decision.action[0] != 1


def test_nothing_finite_at_all_is_an_error() -> None:
    with pytest.raises(ModelDivergedError, match="root 0: expected an action"):
        searched(Bandit([np.nan, np.nan]), np.zeros(2), PUCT_RULE)
    model = Table()
    model.value[3] = np.nan
    with pytest.raises(ModelDivergedError, match="root 1: expected a finite value"):
        searched(model, [0, 3], PUCT_RULE)


@given(st.integers(0, 10_000), st.integers(2, 12))
@settings(max_examples=40, deadline=None)
def test_gumbel_improves_any_policy(seed: int, simulations: int) -> None:
    """Section 3: acting by the search is no worse than by the prior, on average over the noise."""
    rng = seeded(seed)
    means, logits = rng.normal(size=6), rng.normal(size=6)
    prior = np.exp(logits) / np.exp(logits).sum()

    model = Bandit(means, logits=logits)
    trees = Trees(replace(model.root(np.zeros(200), rng), value=np.full(200, prior @ means)), rng)
    decision = search(model, trees, SearchConfig(GumbelConfig(), simulations), rng)
    assert (decision.policy @ means >= prior @ means - 1e-9).all()
    error = means.std() / np.sqrt(200)
    assert means[decision.action].mean() >= prior @ means - 4 * error


def test_widening_tries_no_more_actions_than_it_may() -> None:
    model = Table(ends=0.0)
    model.legal[:] = True
    rule = UCTConfig(widening=Widening(0.7, 0.5))
    _, trees = searched(model, [0, 1], rule, 60)
    visits, ever = trees.arrays.nodes["visits"], trees.arrays.edges["count"] > 0
    allowed = np.ceil(0.7 * np.sqrt(visits)).clip(1, ACTIONS)
    assert (ever.sum(axis=-1) <= allowed)[visits > 0].all()
    assert ever[:, 0].all(), "61 visits allow all of them"
    assert (ever[..., 1:] <= ever[..., :-1])[visits > 0].all(), "first come those drawn first"


@pytest.mark.parametrize(
    "rule", [UCTConfig(widening=Widening()), replace(PUCT_RULE, widening=Widening())]
)
@pytest.mark.parametrize("bad", [np.nan, "illegal"])
def test_widening_passes_over_what_may_not_be_tried(rule: RuleConfig, bad: Any) -> None:
    model = Bandit([0.0 if bad == "illegal" else bad, 0.3, 0.9, 0.1])
    if bad == "illegal":
        model.legal = np.array([False, True, True, True])
    decision, _ = searched(model, np.zeros(1), rule, 60)
    assert decision.visits[0, 0] == 0 and decision.visits[0, 1:].all()
    assert decision.action[0] == 2


@pytest.mark.parametrize("players", [1, 2])
def test_a_subtree_that_is_kept_goes_on_as_if_nothing_had_happened(players: int) -> None:
    model, rng, config = Table(players=players, ends=0.0), seeded(), SearchConfig(PUCT_RULE, 80)
    trees = Trees(model.root([7, 8], rng), rng)
    taken = search(model, trees, config, rng).action
    oracles = [
        PUCT(model.step, Node(model.outcome(s)), coin_of(trees, b)) for b, s in enumerate([7, 8])
    ]
    for oracle, action in zip(oracles, taken, strict=True):
        oracle.run(80)
        oracle.root = oracle.root.children[action]
    assert trees.after(taken)
    for row, oracle in enumerate(oracles):
        assert_alike(trees, row, 0, oracle.root)
        oracle.run(80)
    search(model, trees, config, rng)
    for row, oracle in enumerate(oracles):
        assert_alike(trees, row, 0, oracle.root)


def test_an_action_that_was_never_tried_or_ends_it_all_keeps_nothing() -> None:
    model, rng = Table(ends=1.0), seeded()
    trees = Trees(model.root([0], rng), rng)
    untouched = trees.arrays.nodes.copy()
    assert not trees.after([0])
    decision = search(model, trees, SearchConfig(PUCT_RULE, 20), rng)
    assert not trees.after(decision.action)
    assert len(untouched) == 1
    with pytest.raises(ValueError, match="expected 1 numbers from 0 to 4"):
        trees.after([5])


def test_trees_can_be_planted_anew_one_by_one() -> None:
    model, rng = Table(), seeded()
    config = SearchConfig(PUCT_RULE, 30)
    trees = Trees(model.root([1, 2], rng), rng)
    search(model, trees, config, rng)
    trees.plant(model.root([3], rng), np.array([1]))
    assert trees.arrays.nodes["visits"][:, 0].tolist() == [31, 1]
    search(model, trees, config, rng)
    expected = PUCT(model.step, Node(model.outcome(3)), coin_of(trees, 1)).run(30)
    assert_alike(trees, 1, 0, expected)


@pytest.mark.parametrize("rule", [*RULES, PUCTConfig()])
def test_same_seed_same_bits_and_other_seeds_another_tree(rule: RuleConfig) -> None:
    def run(seed: int) -> Decision:
        model, rng = Table(), seeded(seed)
        return search(model, Trees(model.root([4], rng), rng), SearchConfig(rule, 40), rng)

    one, same, other = run(0), run(0), run(1)
    for name in ("action", "policy", "value", "visits", "q"):
        assert np.array_equal(getattr(one, name), getattr(same, name))
    assert rule == PUCT_RULE or one.value != other.value


def test_a_search_ends_in_time_with_what_it_has() -> None:
    class Slow(Table):
        def expand(self, embedding: Any, action: Any, rng: Any) -> Expansion[Ints]:
            time.sleep(0.01)
            return super().expand(embedding, action, rng)

    rng, model = seeded(), Slow()
    trees = Trees(model.root([4], rng), rng)
    started = time.monotonic()
    decision = search(model, trees, SearchConfig(PUCT_RULE, 10**5, budget=0.1), rng)
    assert 1 <= decision.simulations <= 11
    assert time.monotonic() - started < 5.0
    assert decision.visits.sum() == decision.simulations
    hasty = SearchConfig(PUCT_RULE, 10, budget=1e-9)
    assert search(model, Trees(model.root([4], rng), rng), hasty, rng).simulations == 1


@pytest.mark.parametrize(
    ("considered", "simulations"), [(1, 7), (2, 16), (5, 50), (16, 64), (16, 9)]
)
def test_sequential_halving_shares_the_simulations(considered: int, simulations: int) -> None:
    """Each action considered is visited once per entry: replay it and see who is left."""
    counts = [0] * considered
    for visits in sequential_halving(considered, simulations):
        counts[counts.index(visits)] += 1
    assert sum(counts) == simulations
    if simulations >= considered * max(1, math.ceil(math.log2(considered))):
        rounds = max(1, math.ceil(math.log2(considered)))
        assert min(counts) == simulations // (rounds * considered)
        assert counts[0] - counts[min(1, considered - 1)] <= 1, "two are left at the end"


def test_dirichlet_noise_is_over_legal_actions_and_has_their_moments() -> None:
    legal = np.tile([True, True, False, True], (20_000, 1))
    noise = dirichlet(legal, 0.3, seeded())
    assert (noise[:, 2] == 0).all()
    np.testing.assert_allclose(noise.sum(axis=1), 1.0)
    np.testing.assert_allclose(noise[:, [0, 1, 3]].mean(axis=0), 1 / 3, atol=0.01)
    variance = (1 / 3) * (2 / 3) / (3 * 0.3 + 1)
    np.testing.assert_allclose(noise[:, [0, 1, 3]].var(axis=0), variance, rtol=0.05)


def test_noise_at_the_root_explores_what_the_prior_would_not() -> None:
    bandit = Bandit([0.0, 0.0, 1.0], logits=[0.0, 0.0, -30.0])
    rule = PUCTConfig(dirichlet_alpha=1.0, dirichlet_fraction=0.5)
    calm, _ = searched(bandit, np.zeros(1), PUCT_RULE, 40)
    noisy, _ = searched(bandit, np.zeros(10), rule, 40)
    assert calm.action[0] != 2
    assert (noisy.action == 2).mean() > 0.5


def test_a_model_of_the_wrong_shape_is_refused() -> None:
    model, rng = Table(), seeded()
    with pytest.raises(ValueError, match=r"value: expected shape \(2,\), got \(3,\)"):
        Trees(replace(model.root([0, 1], rng), value=np.zeros(3)), rng)
    model.legal[1] = False
    with pytest.raises(ValueError, match="root 1: expected a legal action"):
        Trees(model.root([0, 1], rng), rng)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: SearchConfig(simulations=0), "simulations"),
        (lambda: SearchConfig(budget=0.0), "budget"),
        (lambda: SearchConfig(GumbelConfig(), reuse=True), "reuse"),
        (lambda: UCTConfig(exploration=-1.0), "exploration"),
        (lambda: PUCTConfig(dirichlet_fraction=2.0), "dirichlet_fraction"),
        (lambda: GumbelConfig(considered=0), "considered"),
        (lambda: Widening(exponent=1.5), "exponent"),
    ],
)
def test_settings_that_make_no_sense_are_refused(make: Callable[[], Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}: expected"):
        make()


def test_gumbel_does_not_go_on_with_a_searched_tree() -> None:
    model, rng = Table(), seeded()
    trees = Trees(model.root([0], rng), rng)
    search(model, trees, SearchConfig(GumbelConfig(), 5), rng)
    with pytest.raises(ValueError, match="expected new ones for Gumbel"):
        search(model, trees, SearchConfig(GumbelConfig(), 5), rng)


@pytest.mark.parametrize("reuse", [False, True])
def test_the_controller_acts_plans_and_repeats_itself(reuse: bool) -> None:
    model = Table(ends=0.0)
    controller = TreeSearch(model, SearchConfig(PUCT_RULE, 60, reuse=reuse))

    def play() -> list[float]:
        controller.reset(3)
        assert controller.plan is None
        state, actions = 4, []
        for _ in range(4):
            action = controller.act(np.array([state]))
            assert controller.plan is not None
            assert controller.plan.actions[0].tolist() == action.tolist()
            actions.append(float(action[0]))
            state = int(model.following[state, int(action[0])])
            expected = controller.plan.actions[:2, 0].tolist()
            assert expected[0] == actions[-1]
        return actions

    assert play() == play()
    assert controller.trees is not None
    assert (controller.trees.arrays.nodes[0, 0].visits > 61) is np.bool_(reuse)
    with pytest.raises(ValueError, match="finite"):
        controller.act(np.array([np.nan]))


def test_a_tree_is_not_gone_on_with_where_somebody_else_has_moved() -> None:
    """What follows the own action is the other's position, who moves before it is one's turn."""
    model = Table(players=2, ends=0.0)
    model.player[:] = np.arange(STATES) % 2
    model.following = model.following // 2 * 2 + (1 - model.player)[:, None]  # they take turns
    controller = TreeSearch(model, SearchConfig(PUCT_RULE, 60, reuse=True))
    for state in (4, 8):
        action = controller.act(np.array([state]))
        assert controller.trees is not None and controller.decision is not None
        assert controller.trees.embeddings[0, 0] == state
        assert controller.decision.visits.sum() == 60
        assert model.legal[state, int(action[0])]


def test_an_action_is_held_until_it_is_time_to_decide_again() -> None:
    model = Table(ends=0.0)
    search = TreeSearch(model, SearchConfig(PUCT_RULE, 20), replan_every=3)
    search.reset(1)
    first, tree = search.act(np.array([4])), search.trees
    assert search.plan is not None
    assert search.plan.actions[:3, 0].tolist() == [first[0]] * 3
    assert all((search.act(np.array([state])) == first).all() for state in (5, 6))
    assert search.trees is tree, "nothing was searched"
    search.act(np.array([7]))
    assert search.trees is not tree
    search.act(np.array([8]))
    search.reset(1)
    assert (search.act(np.array([4])) == first).all(), "a reset forgets what is held"
    with pytest.raises(ValueError, match="replan_every: expected at least 1, got 0"):
        TreeSearch(model, replan_every=0)


def test_the_improved_value_is_what_the_policy_expects_of_what_was_tried() -> None:
    decision = Decision(
        action=np.array([1]),
        policy=np.array([[0.2, 0.6, 0.2]]),
        value=np.array([9.0]),
        visits=np.array([[3, 5, 0]], np.int32),
        q=np.array([[1.0, 3.0, 77.0]]),
        simulations=8,
    )
    assert decision.improved_value.tolist() == [pytest.approx((0.2 + 1.8) / 0.8)]
    unlikely = replace(decision, policy=np.array([[0.0, 0.0, 1.0]]))
    assert unlikely.improved_value.tolist() == [9.0], "the mean of all that was tried"
