"""What a full node counts, in Prometheus' terms: gridwitness_node_*."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, get_args

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from kit.logs import get_logger
from master.io.inbound import FrameReason, HandshakeReason
from wire.errors import WireError
from wire.faultproof import FaultProof

_PREFIX: Final = "gridwitness_node"
_LATENCY_BUCKETS_S: Final = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10)

_log = get_logger("peers")


_ABOUT: Final[Mapping[str, str]] = {
    "transactions_received_total": "Transactions that arrived, by way (mqtt, http, gossip) and what became of them "
    "(pending, duplicate, refused)",
    "transactions_refused_total": "Transactions that were refused, by way and reason",
    "transactions_malformed_total": "Transactions refused as malformed, by what was wrong: one of the codes of "
    "docs/spec TP-9",
    "transactions_committed_total": "Transactions in applied blocks",
    "height": "Height of the newest applied block",
    "head_time_seconds": "Block time of the newest block, seconds since 1970 UTC",
    "view": "View of the height that is being decided",
    "taking_part": "1 while this node takes part in consensus; 0 when its disk is full or it stopped signing",
    "mempool_transactions": "Transactions that wait for a block",
    "mempool_bytes": "Bytes of transactions that wait",
    "view_changes_total": "Views that this node left, by reason (timeout, invalid-proposal, followed: enough others "
    "had, complaint: a transaction waited for long)",
    "consensus_reports_total": "What the replica and its shell reported, by code (answer-refused, archive-rejected, "
    "block-refused, chunk-rejected, disk-full, disk-room, divergence, divergence-blamed, event-dropped, event-log, "
    "invalid-proposal, manifest-rejected, quarantine, quarantine-over, snapshot-abandoned, storage, unexpected, "
    "view-change, vote-refused)",
    "faults_proven_total": "Proofs that a validator broke the protocol, by member and kind; any value above 0 needs a "
    "person",
    "peer_messages_refused_total": "Messages of other validators refused, by reason: one of the codes of docs/spec "
    "TP-9",
    "peer_frames_refused_total": "Connections of other validators cut off, by reason (length, silent, unfinished, "
    "displaced)",
    "handshakes_refused_total": "Connections to the peer port that ended before they were authenticated, by reason "
    "(address-busy, address-rate, displaced, deadline, tls, stranger)",
    "peer_throttled_seconds_total": "Time for which a validator was not read, since it sent more than its allowance",
    "peers_connected": "Validators that can be sent to",
    "broker_connected": "1 while the broker accepts this node",
    "messages_dropped_total": "Messages that found no room or no broker, or whose gateway sends too many: broker, "
    "peers, gateways",
    "receipts_published_total": "Receipts sent to gateways",
    "commit_seconds": "From the arrival of a transaction at this node to its block being applied here",
}
"""What each metric says, by its name without the prefix."""


class NodeMetrics:
    """The node's counters and gauges, registered in one registry."""

    def __init__(self, registry: CollectorRegistry) -> None:
        def counter(name: str, *labels: str) -> Counter:
            return Counter(f"{_PREFIX}_{name}", _ABOUT[name], labels, registry=registry)

        def gauge(name: str) -> Gauge:
            return Gauge(f"{_PREFIX}_{name}", _ABOUT[name], registry=registry)

        self.received = counter("transactions_received_total", "way", "result")
        self.refused = counter("transactions_refused_total", "way", "reason")
        self.malformed = counter("transactions_malformed_total", "reason")
        self.committed = counter("transactions_committed_total")
        self.height = gauge("height")
        self.head_time = gauge("head_time_seconds")
        self.view = gauge("view")
        self.taking_part = gauge("taking_part")
        self.mempool = gauge("mempool_transactions")
        self.mempool_bytes = gauge("mempool_bytes")
        self.view_changes = counter("view_changes_total", "reason")
        self.reports = counter("consensus_reports_total", "code")
        self.faults = counter("faults_proven_total", "member", "kind")
        self.peer_refused = counter("peer_messages_refused_total", "member", "reason")
        self.frames_refused = counter("peer_frames_refused_total", "member", "reason")
        self.handshakes_refused = counter("handshakes_refused_total", "reason")
        self.throttled_seconds = counter("peer_throttled_seconds_total", "member")
        self.peers = gauge("peers_connected")
        self.broker = gauge("broker_connected")
        self.dropped = counter("messages_dropped_total", "queue")
        self.receipts = counter("receipts_published_total")
        seconds = "commit_seconds"
        self.commit_seconds = Histogram(
            f"{_PREFIX}_{seconds}", _ABOUT[seconds], buckets=_LATENCY_BUCKETS_S, registry=registry
        )


class PeerCounters:
    """What the peer port tells, as metrics."""

    def __init__(self, metrics: NodeMetrics) -> None:
        """Show every reason of a handshake from the start, with 0."""
        self._metrics = metrics
        for reason in get_args(HandshakeReason):
            metrics.handshakes_refused.labels(reason)

    def handshake_refused(self, reason: HandshakeReason) -> None:
        """A connection ended before it was authenticated."""
        self._metrics.handshakes_refused.labels(reason).inc()

    def frame_refused(self, member: str, reason: FrameReason) -> None:
        """A member's connection was cut off."""
        self._metrics.frames_refused.labels(member, reason).inc()

    def throttled(self, member: str, pause_s: float) -> None:
        """A member is not read for so long."""
        self._metrics.throttled_seconds.labels(member).inc(pause_s)

    def message_refused(self, member: str, error: WireError) -> None:
        """A message of a member was refused."""
        self._metrics.peer_refused.labels(member, error.code).inc()
        _log.warning("refused a message of another validator", member=member, code=error.code, reason=str(error))

    def tip_refused(self, error: WireError) -> None:
        """A fault proof of a gateway was refused."""
        self._metrics.refused.labels("mqtt", "fault-proof").inc()
        _log.warning("refused a fault proof of a gateway", code=error.code, reason=str(error))

    def fault_proven(self, proof: FaultProof) -> None:
        """A validator is proven to have broken the protocol."""
        self._metrics.faults.labels(proof.member, proof.kind).inc()
        detail = {"member": proof.member, "kind": proof.kind, "height": proof.height, "digest": proof.digest().hex()}
        _log.critical("a validator broke the protocol", **detail)
