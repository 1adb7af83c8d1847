"""A program's own Prometheus endpoint, for programs without an HTTP server."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector

from kit.exitcodes import StorageError

if TYPE_CHECKING:
    import threading
    from wsgiref.simple_server import WSGIServer

    from kit.config import HostPort


def new_registry() -> CollectorRegistry:
    """Return a registry of its own (never the library's global one) that shows process figures."""
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    PlatformCollector(registry=registry)
    return registry


@dataclass(frozen=True, slots=True)
class MetricsServer:
    """A running endpoint; ``port`` is the one bound, also when port 0 was asked."""

    port: int
    _server: WSGIServer
    _thread: threading.Thread

    def close(self) -> None:
        """Stop serving and wait for the thread."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def serve_metrics(registry: CollectorRegistry, listen: HostPort) -> MetricsServer:
    """Serve the registry's text at ``listen`` from a thread.

    Raises:
        StorageError: The address cannot be bound.
    """
    try:
        server, thread = start_http_server(listen.port, addr=listen.host, registry=registry)
    except OSError as error:
        message = f"metrics cannot be served at {listen}: {error.strerror or error}"
        raise StorageError(f"{message}; choose another address or 'host:0'") from error
    return MetricsServer(port=server.server_port, _server=server, _thread=thread)
