"""Where a tree search goes next and what it decides: the rules as formulas, compiled.

``q`` is the mean return of an action, ``count`` how often it was tried, ``visits`` how often its
state was visited, which counts the state's own evaluation.
"""

from __future__ import annotations

import math

import numpy as np

from mpc_robot.controllers.tree_arrays import Floats, Ints, Parts, Record, Records, back_up
from mpc_robot.controllers.tree_rules import GUMBEL_RULE, UCT_RULE, Halving, Numbers, Rule
from mpc_robot.envs.compiled import compiled, inlined, scrambled


@compiled
def select(tree: Parts, numbers: Numbers, plan: Halving, leaves: Ints) -> int:
    """Walk down every tree to an edge that leads out of it; how many there are, K.

    A walk that ends in a terminal state is backed up at once and leads nowhere else.

    Args:
        tree: where.
        numbers: of the rule.
        plan: noise and schedule of Gumbel's rule.
        leaves: tree, parent, action and number of the node to come of each edge ``[4, B]``, out.
    """
    (trees, nodes, edges), (gumbel, schedule), rule = tree, plan, Rule(*numbers)
    found, scratch = 0, np.empty(edges.shape[2])
    for b in range(len(trees)):
        node = 0
        while True:
            actions, here = edges[b, node], nodes[b, node]
            if rule.kind != GUMBEL_RULE:
                action = bounded(actions, here, rule, trees[b], node)
            elif node > 0:
                action = follow_improved(actions, here, rule, scratch)
            else:
                scores = improved(actions, here, rule, scratch)
                simulation = min(here.visits - 1, schedule.shape[1] - 1)
                action = halve(actions, scores, gumbel[b], schedule[b, simulation])
            if action < 0:  # nothing here may be tried any more
                if node == 0:
                    break
                edges[b, here.parent, here.action].legal = 0
                node = 0
                continue
            child = actions[action].child
            if child < 0:
                leaves[0, found], leaves[1, found] = b, node
                leaves[2, found], leaves[3, found] = action, trees[b].used
                found += 1
                break
            if nodes[b, child].discount == 0.0:
                back_up(trees[b], nodes[b], edges[b], child, 0.0)
                break
            node = child
    return found


@inlined
def bounded(edges: Records, here: Record, rule: Rule, this: Record, node: int) -> int:
    """The action of the greatest upper confidence bound, UCT's or MuZero's; -1 if there is none."""
    span, best, highest = this.high - this.low, -1, -np.inf
    left = width(rule, here.visits, len(edges))
    for a in range(len(edges)):
        edge = edges[a]
        if edge.legal and left > 0:
            left -= 1
            if rule.kind == UCT_RULE:
                score = uct(edge.q, edge.count, here.visits, rule.first)
            else:
                q = (edge.q - this.low) / span if edge.count > 0 and span > 0.0 else 0.0
                score = q + puct(edge.prior, edge.count, here.visits, rule.first, rule.second)
            if score > highest or (score == highest and prefers(this.seed, node, a, best)):
                best, highest = a, score
    return best


@inlined
def width(rule: Rule, visits: int, actions: int) -> int:
    """How many of a state's actions may be tried after so many visits."""
    if rule.coefficient == np.inf:
        return actions
    allowed: int = math.ceil(rule.coefficient * visits**rule.exponent)
    return min(actions, max(1, allowed))


@inlined
def uct(q: float, count: int, visits: int, c: float) -> float:
    """Upper confidence bound of an action, infinite for one never tried."""
    if count == 0:
        return np.inf
    return q + c * math.sqrt(math.log(visits) / count)


@inlined
def puct(prior: float, count: int, visits: int, c1: float, c2: float) -> float:
    """What MuZero adds to an action's Q in [0, 1]."""
    return prior * math.sqrt(visits) / (1.0 + count) * (c1 + math.log((visits + c2 + 1.0) / c2))


@inlined
def prefers(seed: int, node: int, one: int, other: int) -> bool:
    """Whether to take ``one`` of two equal actions: as a coin says that falls once per node."""
    return lot(seed, node, one) > lot(seed, node, other)


@inlined
def lot(seed: int, node: int, action: int) -> int:
    """A number that looks random."""
    return scrambled(np.uint64(seed) + np.uint64(node << 20) + np.uint64(action))


@inlined
def halve(edges: Records, scores: Floats, gumbel: Floats, visits: int) -> int:
    """Sequential halving at a root: the best action, by Gumbel, of those tried so often; or -1.

    Where none was, as after actions were given up, those count that come next below, or above.
    """
    below, least = -1, -1
    for a in range(len(edges)):
        count = edges[a].count
        if edges[a].legal:
            below = max(below, count) if count <= visits else below
            least = count if least < 0 else min(least, count)
    wanted = below if below >= 0 else least
    best, highest = -1, -np.inf
    for a in range(len(edges)):
        if edges[a].legal and edges[a].count == wanted:
            score = scores[a] + gumbel[a]
            if best < 0 or score > highest:
                best, highest = a, score
    return best


@inlined
def follow_improved(edges: Records, here: Record, rule: Rule, scratch: Floats) -> int:
    """The action that has had the least of its share by the improved policy (section 5); or -1."""
    shares = improved(edges, here, rule, scratch)
    softmax(shares)
    best, highest = -1, -np.inf
    for a in range(len(edges)):
        lag = shares[a] - edges[a].count / here.visits  # visits: one more than actions were tried
        if edges[a].legal and lag > highest:
            best, highest = a, lag
    return best


@inlined
def improved(edges: Records, here: Record, rule: Rule, out: Floats) -> Floats:
    """Logits of Gumbel MuZero's improved policy in a state, in ``out[A]``.

    ``logits + sigma(completed Q)`` with ``sigma(q) = (c_visit + max n) c_scale q`` (equation 8),
    where Q is scaled to [0, 1] over the state's actions, or by ``rule.least`` where they differ by
    less, and is ``mixed_value`` for what was never tried; -inf for illegal actions.
    """
    missing = mixed_value(edges, here.value)
    most, low, high = 0, np.inf, -np.inf
    for a in range(len(edges)):
        edge = edges[a]
        if edge.legal:
            out[a] = edge.q if edge.count > 0 else missing
            most, low, high = max(most, edge.count), min(low, out[a]), max(high, out[a])
    factor = (rule.second + most) * rule.first / max(high - low, rule.least)
    for a in range(len(edges)):
        out[a] = edges[a].logit + factor * (out[a] - low) if edges[a].legal else -np.inf
    return out


@inlined
def mixed_value(edges: Records, value: float) -> float:
    """The model's ``value`` of a state, mixed with the Q of its actions tried (equation 33)."""
    tried, mass, weighted = 0, 0.0, 0.0
    for a in range(len(edges)):
        edge = edges[a]
        if edge.legal and edge.count > 0:
            share = max(edge.prior, 1e-300)
            tried, mass, weighted = tried + edge.count, mass + share, weighted + share * edge.q
    mixed: float = value if tried == 0 else (value + tried * weighted / mass) / (1.0 + tried)
    return mixed


@inlined
def softmax(scores: Floats) -> None:
    """Turn logits ``[A]``, some of them -inf, into probabilities in place."""
    highest, total = -np.inf, 0.0
    for a in range(len(scores)):
        highest = max(highest, scores[a])
    for a in range(len(scores)):
        scores[a] = math.exp(scores[a] - highest)
        total += scores[a]
    for a in range(len(scores)):
        scores[a] /= total


@compiled
def decide(tree: Parts, numbers: Numbers, plan: Halving, policy: Floats, action: Ints) -> None:
    """The policy ``[B, A]`` and best action ``[B]`` at the roots; -1 if none may be taken.

    By Gumbel, the improved policy and the best of the actions tried most; else the share of the
    visits and the action tried most, of equals that of the best Q.
    """
    (trees, nodes, all_edges), (gumbel, _), rule = tree, plan, Rule(*numbers)
    for b in range(len(trees)):
        edges, most, total = all_edges[b, 0], 0, 0
        for a in range(len(edges)):
            if edges[a].legal:
                most, total = max(most, edges[a].count), total + edges[a].count
        action[b] = -1
        if most == 0:
            continue
        if rule.kind == GUMBEL_RULE:
            scores = improved(edges, nodes[b, 0], rule, policy[b])
            action[b] = halve(edges, scores, gumbel[b], most)
            softmax(scores)
            continue
        for a in range(len(edges)):
            policy[b, a] = edges[a].count / total if edges[a].legal else 0.0
            if edges[a].legal and edges[a].count == most:
                if action[b] < 0 or edges[a].q > edges[action[b]].q:
                    action[b] = a
