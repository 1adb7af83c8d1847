"""The TLS of simulated devices: a certificate of their own, and one asked of every client."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Protocol

from firmware_sim.errors import ScenarioError


class TlsFiles(Protocol):
    """What the scenario names."""

    @property
    def certificate(self) -> Path:
        """The device's certificate, PEM."""

    @property
    def key(self) -> Path:
        """Its key, PEM, without a password."""

    @property
    def client_ca(self) -> Path:
        """Authorities of the clients that are let in, PEM."""


def server_context(files: TlsFiles) -> ssl.SSLContext:
    """Make the context of a device's port: TLS 1.2 or newer, and no client without a certificate.

    Raises:
        ScenarioError: A file cannot be used.

    Source: MODBUS/TCP Security Protocol Specification: mutual authentication, TLS 1.2 or newer; IEC 62351-3.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.verify_mode = ssl.CERT_REQUIRED
    try:
        context.load_cert_chain(files.certificate, files.key)
        context.load_verify_locations(files.client_ca)
    except (OSError, ssl.SSLError) as error:
        raise ScenarioError(f"the TLS files {files.certificate}, {files.key} and {files.client_ca}: {error}") from error
    return context
