"""Refusals at the peer port, as metrics."""

from __future__ import annotations

from prometheus_client import CollectorRegistry

from master.metrics import NodeMetrics, PeerCounters
from tests.unit.wire.test_faultproof import PROOF
from wire.errors import FormatError, SignatureError


# holds TP-9
def test_peer_counters_show_one_figure_per_reason_from_the_start() -> None:
    registry = CollectorRegistry()
    counters = PeerCounters(NodeMetrics(registry))

    def value(name: str, **labels: str) -> float | None:
        return registry.get_sample_value(f"gridwitness_node_{name}", labels)

    for reason in ("address-busy", "address-rate", "displaced", "deadline", "tls", "stranger"):
        assert value("handshakes_refused_total", reason=reason) == 0
    counters.handshake_refused("tls")
    counters.frame_refused("b", "silent")
    counters.throttled("b", 0.5)
    counters.throttled("b", 0.25)
    assert value("handshakes_refused_total", reason="tls") == 1
    assert value("peer_frames_refused_total", member="b", reason="silent") == 1
    assert value("peer_throttled_seconds_total", member="b") == 0.75
    counters.message_refused("b", FormatError("x"))
    counters.message_refused("b", SignatureError("x"))
    counters.tip_refused(FormatError("x"))
    assert value("peer_messages_refused_total", member="b", reason="malformed") == 1
    assert value("peer_messages_refused_total", member="b", reason="bad-signature") == 1
    assert value("transactions_refused_total", way="mqtt", reason="fault-proof") == 1
    counters.fault_proven(PROOF)
    assert value("faults_proven_total", member=PROOF.member, kind=PROOF.kind) == 1
