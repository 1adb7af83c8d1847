"""What replicas were told in a whole simulated cluster runs again, bit for bit, from start and checkpoints."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tests.simulation import node as simulated
from tests.simulation.cluster import Cluster
from tests.simulation.plan import PROFILES, draw_plan
from tests.simulation.taped import Log, TapedReplica

CHECKPOINT_EVERY = 97
STEPS_MIN = 150


def recorded(seed: int, profile: str, monkeypatch: pytest.MonkeyPatch) -> list[Log]:
    """Run a short cluster and return the log of every life of its nodes."""
    logs: list[Log] = []

    def boot(*facts: Any, **more: Any) -> TapedReplica:  # noqa: ANN401 as the replica takes them
        logs.append(Log(CHECKPOINT_EVERY))
        return TapedReplica(logs[-1], *facts, **more)

    monkeypatch.setattr(simulated, "Replica", boot)
    plan = replace(draw_plan(seed, profile), faults_ms=2_500)
    outcome = Cluster(plan).run()
    assert outcome.failure is None
    return logs


# holds EL-3 EL-5
@pytest.mark.simulation
@pytest.mark.parametrize("profile", PROFILES)
def test_replay_of_simulated_nodes_gives_every_effect_and_state_again(
    profile: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    logs = recorded(PROFILES.index(profile), profile, monkeypatch)
    steps = 0
    for log in logs:
        whole = log.replayed()
        assert whole.states == len(log.segments) - 1
        assert whole.steps == sum(len(segment) - 1 for segment in log.segments)
        steps += whole.steps
        middle = len(log.segments) // 2
        assert log.replayed(middle).steps == sum(len(segment) - 1 for segment in log.segments[middle:])
    assert steps >= STEPS_MIN
