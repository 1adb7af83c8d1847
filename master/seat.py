"""Which keys and certificates of a node count now, and whom it connects to: the ledger says so, block by block."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from kit.config_check import HostPort
from kit.exitcodes import ConfigurationError
from kit.files import read_bounded, sync_folder
from kit.keystore import KeyFile, load_signing_key
from kit.logs import get_logger
from kit.tls import PEM_BYTES_MAX, der_of, is_trustable, peer_context
from master.config import NodeConfig, PeersSection
from master.consensus.events import Epoch
from master.consensus.guard import SignerGuard
from master.consensus.state import Settings
from master.contracts.validator_records import Admitted
from master.io.guard import GuardFile, owner_of
from master.io.inbound import Trust
from master.node import genesis_parameter
from wire.certificate import ValidatorSet
from wire.genesis import Genesis
from wire.types import Digest, sha256

GUARD_FILE: Final = "guard"
RESTORED_FILE: Final = "restored"
_log = get_logger("seat")


class VoteKeys:
    """The vote keys of one member: the present one, and the one to which it is being rotated."""

    def __init__(self, member: str, keys: tuple[KeyFile, ...]) -> None:
        self._member = member
        self._keys = keys
        self._active = keys[0]

    @property
    def public(self) -> tuple[bytes, ...]:
        """All public keys."""
        return tuple(key.public for key in self._keys)

    @property
    def active(self) -> bytes:
        """Public key that signs now."""
        return self._active.public

    def choose(self, validators: ValidatorSet) -> bool:
        """Sign with the key that a set names, if it names one of these; tell whether that is another one now."""
        own = validators.find(self._member)
        chosen = next((key for key in self._keys if own is not None and key.public == own.vote_key), self._active)
        before, self._active = self._active, chosen
        return before.public != chosen.public

    def sign(self, data: bytes) -> bytes:
        """Return the signature of the active key."""
        return self._active.signing_key.sign(data).signature

    def owners(self, chain: str) -> tuple[Digest, ...]:
        """Return what ties a signer guard to these keys, that of the active one first."""
        publics = (self.active, *(public for public in self.public if public != self.active))
        return tuple(owner_of(chain, self._member, public) for public in publics)


def load_vote_keys(config: NodeConfig) -> VoteKeys:
    """Read the vote key, and the next one where the configuration names it."""
    paths = (config.node.vote_key, config.node.vote_key_next)
    return VoteKeys(config.node.member, tuple(load_signing_key(path) for path in paths if path is not None))


def check_seat(config: NodeConfig, genesis: Genesis, keys: VoteKeys, *, is_following: bool = False) -> None:
    """Refuse a configuration that cannot be meant: another key than the genesis file names, or nobody to dial.

    Args:
        config: Of the node.
        genesis: Of the ledger.
        keys: Its vote keys.
        is_following: The node joins a ledger that runs: its key may be one that the ledger learned later.

    Raises:
        ConfigurationError: Says what is wrong.
    """
    member = config.node.member
    others = {entry.member for entry in genesis.validators} - {member}
    validator = next((entry for entry in genesis.validators if entry.member == member), None)
    if validator is None or is_following:
        if others and not set(config.peers.addresses) - {member}:
            raise ConfigurationError("[peers.addresses] names nobody from whom this node could follow the ledger")
        return
    if validator.vote_key not in keys.public:
        raise ConfigurationError(
            f"{config.node.vote_key} is not the vote key that {genesis.chain()} has for {member}; "
            "if the key was changed since, make the store with --follow"
        )
    missing = others - set(config.peers.addresses)
    if missing:
        raise ConfigurationError(f"[peers.addresses] lacks {', '.join(sorted(missing))}")


def open_guard(config: NodeConfig, owners: Sequence[Digest]) -> GuardFile:
    """Open the signer guard; a marker that a restore left in the data directory goes into it first.

    Args:
        config: Of the node.
        owners: Of the guard, that of the key that signs now first.

    Raises:
        StorageError: The data directory cannot be read or written.
    """
    data_dir = config.node.data_dir
    guard_file = GuardFile(data_dir / GUARD_FILE, owners[0], also=owners[1:])
    marker = data_dir / RESTORED_FILE
    if marker.exists():
        guard_file.save(replace(guard_file.guard or SignerGuard(), is_restored=True))
        marker.unlink()
        sync_folder(data_dir)
    return guard_file


@dataclass(slots=True)
class PeerBook:
    """Makes TLS contexts and addresses of what the ledger and the configuration say."""

    member: str
    config: PeersSection
    unreachable: set[str] = field(default_factory=set)
    """Members whose address nobody told."""

    def trust(self, peers: Iterable[Admitted]) -> Trust:
        """Trust exactly the certificates of the ledger, and those that the configuration adds for a node far behind.

        Raises:
            DataError: An own file holds something else.
        """
        found = {sha256(entry.tls_certificate): (entry.member, entry.tls_certificate) for entry in peers}
        for member, path in self.config.certificates.items():
            der = der_of(read_bounded(path, bytes_max=PEM_BYTES_MAX))
            found.setdefault(sha256(der), (member, der))
        for digest, (member, der) in list(found.items()):
            if not is_trustable(der):
                _log.warning("a certificate of the ledger is no certificate", member=member)
                del found[digest]
        certificate, key = self._identity(found)
        trusted = [der for _, der in found.values()]
        return Trust(
            {digest: member for digest, (member, _) in found.items()},
            peer_context("server", certificate, key, trusted),
            peer_context("client", certificate, key, trusted),
        )

    def _identity(self, found: Mapping[Digest, tuple[str, bytes]]) -> tuple[Path, Path]:
        """Return the files of the certificate that the ledger knows; the next one only once it does."""
        config = self.config
        if config.certificate_next is not None and config.key_next is not None:
            der = der_of(read_bounded(config.certificate_next, bytes_max=PEM_BYTES_MAX))
            if sha256(der) in found:
                return config.certificate_next, config.key_next
        return config.certificate, config.key

    def addresses(self, peers: Iterable[Admitted]) -> dict[str, HostPort]:
        """Return where to dial each other member; the configuration goes before the ledger."""
        found: dict[str, HostPort] = {}
        lacking: set[str] = set()
        for entry in peers:
            address = self.config.addresses.get(entry.member)
            if address is None and entry.address:
                with contextlib.suppress(ValueError):
                    address = HostPort.parse(entry.address)
            if address is None:
                lacking.add(entry.member)
            elif entry.member != self.member:
                found.setdefault(entry.member, address)
        for member in self.config.certificates:
            if member in self.config.addresses and member != self.member:
                found.setdefault(member, self.config.addresses[member])
        lacking -= {self.member, *found}
        for member in sorted(lacking - self.unreachable):
            what = "nobody told the address of a member, who hears nothing of this node; add it to [peers.addresses]"
            _log.warning(what, member=member)
        self.unreachable = lacking
        return found


def settings_at(genesis: Genesis, member: str, epoch: Epoch, keys: VoteKeys) -> Settings:
    """Return what the replica of a member goes by, as of an epoch."""
    return Settings(
        member,
        genesis.chain(),
        epoch.number,
        epoch.validators,
        block_interval_ms=genesis_parameter(genesis, "block_interval_ms"),
        heartbeat_ms=genesis_parameter(genesis, "heartbeat_ms"),
        skew_ms=genesis_parameter(genesis, "skew_ms"),
        vote_keys=keys.public,
    )
