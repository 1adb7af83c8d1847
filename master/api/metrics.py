"""Counters of the HTTP API, ``gridwitness_node_http_*``."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram


class Metrics:
    """The API's metrics in the node's registry; build them once per registry."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.requests = Counter(
            "gridwitness_node_http_requests",
            "HTTP requests answered, by route template and status.",
            ("route", "method", "status"),
            registry=registry,
        )
        self.seconds = Histogram(
            "gridwitness_node_http_request_seconds",
            "Time from request to answer, event streams not counted.",
            ("route",),
            registry=registry,
            buckets=(0.001, 0.005, 0.02, 0.1, 0.5, 2.0, 10.0),
        )
        self.connections_ended = Counter(
            "gridwitness_node_http_connections_ended",
            "Connections ended before a request was whole, by reason.",
            ("reason",),
            registry=registry,
        )
        self.submitted = Counter(
            "gridwitness_node_http_transactions",
            "Transactions received over HTTP, by result and code of the refusal.",
            ("result", "code"),
            registry=registry,
        )
        self.in_flight = Gauge(
            "gridwitness_node_http_in_flight",
            "Requests being served, event streams among them.",
            registry=registry,
        )
        self.streams = Gauge("gridwitness_node_http_streams", "Event streams that are open.", registry=registry)
        self.stalled = Counter(
            "gridwitness_node_http_streams_stalled",
            "Event streams closed because the client did not read.",
            registry=registry,
        )

    def ended(self, reason: str) -> None:
        """Count a connection that was ended before a request was whole."""
        self.connections_ended.labels(reason).inc()
