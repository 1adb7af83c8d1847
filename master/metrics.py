"""What a full node counts, in Prometheus' terms: gridwitness_node_*."""

from __future__ import annotations

from typing import get_args

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from kit.logs import get_logger
from master.io.inbound import FrameReason, HandshakeReason
from wire.errors import WireError
from wire.faultproof import FaultProof

_LATENCY_BUCKETS_S = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10)

_log = get_logger("peers")


class NodeMetrics:
    """The node's counters and gauges, registered in one registry."""

    def __init__(self, registry: CollectorRegistry) -> None:
        prefix = "gridwitness_node"
        self.received = Counter(
            f"{prefix}_transactions_received_total",
            "Transactions that arrived, by way (mqtt, http, gossip) and what became of them (pending, duplicate, "
            "refused)",
            ("way", "result"),
            registry=registry,
        )
        self.refused = Counter(
            f"{prefix}_transactions_refused_total",
            "Transactions that were refused, by way and reason",
            ("way", "reason"),
            registry=registry,
        )
        self.malformed = Counter(
            f"{prefix}_transactions_malformed_total",
            "Transactions refused as malformed, by what was wrong: one of the codes of docs/spec TP-9",
            ("reason",),
            registry=registry,
        )
        self.committed = Counter(
            f"{prefix}_transactions_committed_total", "Transactions in applied blocks", registry=registry
        )
        self.height = Gauge(f"{prefix}_height", "Height of the newest applied block", registry=registry)
        self.head_time = Gauge(
            f"{prefix}_head_time_seconds", "Block time of the newest block, seconds since 1970 UTC", registry=registry
        )
        self.view = Gauge(f"{prefix}_view", "View of the height that is being decided", registry=registry)
        self.taking_part = Gauge(
            f"{prefix}_taking_part",
            "1 while this node takes part in consensus; 0 when its disk is full or it stopped signing",
            registry=registry,
        )
        self.mempool = Gauge(f"{prefix}_mempool_transactions", "Transactions that wait for a block", registry=registry)
        self.mempool_bytes = Gauge(f"{prefix}_mempool_bytes", "Bytes of transactions that wait", registry=registry)
        self.view_changes = Counter(
            f"{prefix}_view_changes_total",
            "Views that this node left, by reason (timeout, invalid-proposal, followed: enough others had, complaint: "
            "a transaction waited for long)",
            ("reason",),
            registry=registry,
        )
        self.reports = Counter(
            f"{prefix}_consensus_reports_total",
            "What the replica and its shell reported, by code (answer-refused, archive-rejected, "
            "block-refused, chunk-rejected, disk-full, disk-room, divergence, divergence-blamed, event-dropped, "
            "event-log, invalid-proposal, manifest-rejected, quarantine, quarantine-over, snapshot-abandoned, storage, "
            "unexpected, view-change, vote-refused)",
            ("code",),
            registry=registry,
        )
        self.faults = Counter(
            f"{prefix}_faults_proven_total",
            "Proofs that a validator broke the protocol, by member and kind; any value above 0 needs a person",
            ("member", "kind"),
            registry=registry,
        )
        self.peer_refused = Counter(
            f"{prefix}_peer_messages_refused_total",
            "Messages of other validators refused, by reason: one of the codes of docs/spec TP-9",
            ("member", "reason"),
            registry=registry,
        )
        self.frames_refused = Counter(
            f"{prefix}_peer_frames_refused_total",
            "Connections of other validators cut off, by reason (length, silent, unfinished, displaced)",
            ("member", "reason"),
            registry=registry,
        )
        self.handshakes_refused = Counter(
            f"{prefix}_handshakes_refused_total",
            "Connections to the peer port that ended before they were authenticated, by reason (address-busy, "
            "address-rate, displaced, deadline, tls, stranger)",
            ("reason",),
            registry=registry,
        )
        self.throttled_seconds = Counter(
            f"{prefix}_peer_throttled_seconds_total",
            "Time for which a validator was not read, since it sent more than its allowance",
            ("member",),
            registry=registry,
        )
        self.peers = Gauge(f"{prefix}_peers_connected", "Validators that can be sent to", registry=registry)
        self.broker = Gauge(f"{prefix}_broker_connected", "1 while the broker accepts this node", registry=registry)
        self.dropped = Counter(
            f"{prefix}_messages_dropped_total",
            "Messages that found no room or no broker, or whose gateway sends too many: broker, peers, gateways",
            ("queue",),
            registry=registry,
        )
        self.receipts = Counter(f"{prefix}_receipts_published_total", "Receipts sent to gateways", registry=registry)
        self.commit_seconds = Histogram(
            f"{prefix}_commit_seconds",
            "From the arrival of a transaction at this node to its block being applied here",
            buckets=_LATENCY_BUCKETS_S,
            registry=registry,
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
