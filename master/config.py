"""What node.toml may say; every key that is wrong is refused with file, line and what was expected."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from kit.config import HostPort, load, rule
from kit.exitcodes import DataError
from kit.files import read_bounded
from kit.httpsign import authority_of
from wire.errors import WireError
from wire.genesis import GENESIS_BYTES_MAX, Genesis, decode_genesis
from wire.httpsig import AUTHORITY_PATTERN
from wire.types import IDENTIFIER_PATTERN

ENV_PREFIX = "GRIDWITNESS_NODE"
_EVERYWHERE = ("", "0.0.0.0", "::")  # noqa: S104 what is compared, not listened on
_LOOPBACK = ("127.0.0.1", "::1")


@dataclass(frozen=True, slots=True)
class NodeSection:
    """Who this node is and where it keeps what it knows."""

    member: str = field(metadata=rule(pattern=IDENTIFIER_PATTERN))
    data_dir: Path
    genesis: Path = field(metadata=rule(exists="file"))
    vote_key: Path = field(metadata=rule(exists="file"))
    vote_key_next: Path | None = field(default=None, metadata=rule(exists="file"))
    """The key to which this node's vote key is being rotated; used once the ledger names it."""
    database_url: str | None = None
    """SQLAlchemy URL of the query tables; a SQLite file in data_dir when absent."""
    map_mib: int = field(default=4096, metadata=rule(minimum=64, maximum=1_048_576, unit="MiB"))
    """Largest size of the LMDB store; disk is taken only as it fills."""
    snapshot_lag_blocks: int = field(default=5000, metadata=rule(minimum=1, maximum=1_000_000_000, unit="blocks"))
    """From how many blocks behind on the node takes a snapshot of the state instead of the blocks."""
    event_log_mib: int = field(default=256, metadata=rule(minimum=0, maximum=65_536, unit="MiB"))
    """Largest size of the log of what this node was told, for replay; 0 writes none."""
    blobs_mib: int = field(default=16_384, metadata=rule(minimum=64, maximum=16_777_216, unit="MiB"))
    """Room for blobs; disk is taken only as it fills."""


@dataclass(frozen=True, slots=True)
class PeersSection:
    """The connections to the other validators."""

    listen: HostPort
    certificate: Path = field(metadata=rule(exists="file"))
    key: Path = field(metadata=rule(exists="file"))
    addresses: dict[str, HostPort]
    """Where each other member listens; goes before what the ledger says."""
    certificate_next: Path | None = field(default=None, metadata=rule(exists="file"))
    """Used once the ledger knows it."""
    key_next: Path | None = field(default=None, metadata=rule(exists="file"))
    certificates: dict[str, Path] = field(default_factory=dict)
    """Certificates (PEM) of members that this node may meet before it has the blocks that name them."""


@dataclass(frozen=True, slots=True)
class ApiSection:
    """The HTTP API."""

    listen: HostPort
    names: tuple[str, ...] = field(default=(), metadata=rule(pattern=AUTHORITY_PATTERN, maximum=16))
    """Host and port under which clients ask this node and no other, such as dispatch.example, port 80 and 443 left
    out. Restricted reads signed for anything else are refused. Without it: listen, unless that is every address."""

    def own_names(self) -> tuple[str, ...]:
        """Return the addresses for which reads of this node may be signed (docs/spec, HR-4)."""
        host = self.listen.host
        if self.names or host in _EVERYWHERE:
            return self.names
        hosts = (host, "localhost") if host in _LOOPBACK else (host,)
        return tuple(authority_of(f"http://{HostPort(name, self.listen.port)}") for name in hosts)


@dataclass(frozen=True, slots=True)
class MqttSection:
    """The broker through which gateways report."""

    host: str
    port: int = field(metadata=rule(minimum=1, maximum=65_535))
    ca: Path = field(metadata=rule(exists="file"))
    certificate: Path = field(metadata=rule(exists="file"))
    key: Path = field(metadata=rule(exists="file"))


@dataclass(frozen=True, slots=True)
class ReadsSection:
    """The log of restricted reads; without this section it is kept, and never anchored in the ledger."""

    key: Path = field(metadata=rule(exists="file"))
    """NAME.key of the member's own account, which sends the anchors."""
    anchor_s: int = field(default=3600, metadata=rule(minimum=1, maximum=604_800, unit="s"))
    """So long after the first entry that is not anchored, an anchor is sent."""
    anchor_entries: int = field(default=1000, metadata=rule(minimum=1, maximum=100_000, unit="entries"))
    """Or as soon as so many entries are not anchored."""


@dataclass(frozen=True, slots=True)
class NodeConfig:
    """The whole file."""

    node: NodeSection
    peers: PeersSection
    api: ApiSection
    mqtt: MqttSection | None = None
    reads: ReadsSection | None = None


def load_node_config(path: Path) -> NodeConfig:
    """Read and check node.toml with its drop-ins and GRIDWITNESS_NODE__SECTION__KEY.

    Raises:
        ConfigProblemsError: With every problem found; exit code 78.
    """
    return load(path, NodeConfig, env_prefix=ENV_PREFIX)


def load_genesis(config: NodeConfig) -> Genesis:
    """Read the genesis file that the configuration names.

    Raises:
        DataError: It is no canonical genesis file.
    """
    path = config.node.genesis
    try:
        return decode_genesis(read_bounded(path, bytes_max=GENESIS_BYTES_MAX))
    except WireError as error:
        raise DataError(f"{path} is no genesis file: {error}") from error
