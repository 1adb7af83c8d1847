from __future__ import annotations

import socket
import urllib.request

import pytest
from prometheus_client import Counter

from kit.config import HostPort
from kit.exitcodes import StorageError
from kit.metrics import new_registry, serve_metrics


def test_serve_metrics_at_port_zero_serves_at_the_bound_port() -> None:
    registry = new_registry()
    Counter("gridwitness_test_reads", "Reads", registry=registry).inc(3)
    server = serve_metrics(registry, HostPort("127.0.0.1", 0))
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{server.port}/metrics") as answer:
            text = answer.read().decode()
    finally:
        server.close()
    assert "gridwitness_test_reads_total 3.0" in text
    assert "process_resident_memory_bytes" in text


def test_serve_metrics_at_a_taken_port_is_refused() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = HostPort("127.0.0.1", taken.getsockname()[1])
        with pytest.raises(StorageError, match=f"cannot be served at {address}"):
            serve_metrics(new_registry(), address)
