"""Searches trees with mctx whenever a line comes in; runs where mctx is installed.

python search_mctx.py CASE, the fields of benchmarks.search.Case in JSON
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp
import mctx

POLICIES = {"puct": mctx.muzero_policy, "gumbel": mctx.gumbel_muzero_policy}


def searcher(case: SimpleNamespace) -> Callable[[Any], Any]:
    """A compiled search in a model that costs nothing, or in a small net."""
    batch, actions, hidden = case.batch, case.actions, case.hidden
    key = jax.random.PRNGKey(0)
    inner = jax.random.normal(key, (hidden + actions, hidden)) / (hidden + actions) ** 0.5
    outer = jax.random.normal(key, (hidden, actions + 2)) / max(hidden, 1) ** 0.5

    def expand(params: Any, key: Any, action: Any, state: Any) -> tuple[Any, Any]:
        """What follows an action."""
        reward, value, logits = jnp.zeros(batch), jnp.zeros(batch), jnp.zeros((batch, actions))
        if hidden:
            state = jnp.tanh(jnp.concatenate([state, jax.nn.one_hot(action, actions)], 1) @ inner)
            heads = state @ outer
            reward, value, logits = heads[:, 0], heads[:, 1], heads[:, 2:]
        step = mctx.RecurrentFnOutput(
            reward=reward, discount=jnp.ones(batch), prior_logits=logits, value=value
        )
        return step, state

    root = mctx.RootFnOutput(
        prior_logits=jnp.zeros((batch, actions)),
        value=jnp.zeros(batch),
        embedding=jnp.zeros((batch, max(hidden, 1))),
    )

    def run(key: Any) -> Any:
        """One search of each tree."""
        return POLICIES[case.rule](
            params=(), rng_key=key, root=root, recurrent_fn=expand, num_simulations=case.simulations
        ).action

    return jax.jit(run)  # type: ignore[no-any-return]


def serve(case: SimpleNamespace) -> None:
    """One search for every line of stdin."""
    search, key = searcher(case), jax.random.PRNGKey(1)
    search(key).block_until_ready()
    for _ in sys.stdin:
        clock, processor = time.perf_counter(), time.process_time()
        search(key).block_until_ready()
        seconds = {
            "clock": time.perf_counter() - clock,
            "processor": time.process_time() - processor,
        }
        say({**seconds, "rollouts": 0.0})


def say(answer: dict[str, Any]) -> None:
    """One line of JSON."""
    print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    say({"search": "muzero", "version": version("mctx")})
    serve(SimpleNamespace(**json.loads(sys.argv[1])))
