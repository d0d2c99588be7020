"""The benchmark of tree searches in miniature, beside a stand-in that speaks as mctx's worker."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from benchmarks import search
from benchmarks.peers.process import WORKERS

PEER = """
import json, sys
print(json.dumps({"search": "muzero", "version": "1"}), flush=True)
for _ in sys.stdin:
    print(json.dumps({"clock": 1.0, "processor": 2.0, "rollouts": 0.0}), flush=True)
"""


def test_every_case_has_a_rate_and_stands_beside_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("pyspiel")
    worker = tmp_path / "peer.py"
    worker.write_text(PEER)
    monkeypatch.setitem(WORKERS, "mctx", worker)
    peers = {"mctx": Path(sys.executable), "unknown": Path(sys.executable)}
    result = search.measure(search.Options(quick=True, peers=peers))
    rows = {(row["case"], row["of"]): row for row in result["rows"]}
    peer = rows["mctx 1 puct, 32 trees x 50, 4 actions, null model", None]
    assert peer["value"] == 32 * 50 / 2.0
    ours = rows["puct, 32 trees x 50, 4 actions, null model", peer["case"]]
    assert ours["ratio"] == pytest.approx(ours["value"] / peer["value"])
    for other in ("OpenSpiel, Python", "OpenSpiel, C++"):
        assert rows["connect four, 1 trees x 20", f"connect four, {other}"]["ratio"] > 0
    assert result["notes"] == [f"unknown: expected one of {sorted(WORKERS)}"]


def test_a_net_is_searched_with_what_it_says() -> None:
    case = search.Case("gumbel", batch=3, simulations=8, hidden=16)
    model = search.NetModel(case)
    step = model.expand(np.zeros((3, 16), np.float32), np.arange(3), np.random.default_rng(0))
    assert step.nodes.logits.shape == (3, 4)
    assert len(np.unique(step.reward)) == 3
    assert search.ours(case)() is not None
