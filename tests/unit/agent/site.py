"""A whole gateway on disk: keys, certificates, genesis file, configuration."""

from __future__ import annotations

import json
import ssl
from collections.abc import Sequence
from pathlib import Path

from kit.tls import Authority
from tests.unit.wire.samples import GENESIS, key_of, public_of
from wire.cose import kid_of


def write_site(folder: Path, *, broker_port: int, devices: Sequence[tuple[str, int]], more: str = "") -> Path:
    """Write everything that `gridwitness-agent run` needs below ``folder`` and return agent.toml."""
    (folder / "genesis.cbor").write_bytes(GENESIS.encode())
    authority = Authority.create("sample authority")
    authority.identity().save(folder / "ca.crt", folder / "ca.key")
    authority.issue("gw-1").save(folder / "mqtt.crt", folder / "mqtt.key")
    authority.issue("broker", ["127.0.0.1"]).save(folder / "broker.crt", folder / "broker.key")
    write_key(folder / "gw-1.key", "gw-1")
    tables = "".join(
        f'[[device]]\nid = "{name}"\nprotocol = "modbus"\nhost = "127.0.0.1"\nport = {port}\n'
        'profile = "stability-control-modbus"\ntimeout_ms = 5000\nretries = 0\ninterval_ms = 100\n\n'
        for name, port in devices
    )
    config = folder / "agent.toml"
    config.write_text(
        '[agent]\ngateway = "gw-1"\narea = "east"\nstation = "station-1"\nstate_dir = "state"\n'
        'genesis = "genesis.cbor"\nkey = "gw-1.key"\n\n'
        f'[mqtt]\nhost = "127.0.0.1"\nport = {broker_port}\n'
        'ca = "ca.crt"\ncertificate = "mqtt.crt"\nkey = "mqtt.key"\n\n'
        f'[metrics]\nlisten = "127.0.0.1:0"\n\n{tables}{more}'
    )
    return config


def write_key(path: Path, name: str) -> None:
    """Write the sample key of that name."""
    public = public_of(name)
    value = {
        "type": "ed25519",
        "name": "gw-1",
        "public": public.hex(),
        "kid": kid_of(public).hex(),
        "secret": bytes(key_of(name)).hex(),
    }
    path.touch(mode=0o600)
    path.write_text(json.dumps(value))


def broker_context(folder: Path) -> ssl.SSLContext:
    """Return the TLS context of a broker that asks for a client certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "broker.crt", folder / "broker.key")
    context.load_verify_locations(cafile=folder / "ca.crt")
    context.verify_mode = ssl.CERT_REQUIRED
    return context
