"""Which keys and certificates of a node count, and whom it connects to."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from kit.config import HostPort
from kit.exitcodes import ConfigurationError
from kit.keystore import create_key, load_public_key, load_signing_key
from kit.tls import self_signed
from master.config import ApiSection, NodeConfig, NodeSection, PeersSection
from master.contracts.validator_records import Admitted
from master.io.guard import owner_of
from master.seat import PeerBook, VoteKeys, check_seat, load_vote_keys
from tests.unit.ledger.worlds import key_of, make_genesis
from wire.certificate import Validator, ValidatorSet
from wire.genesis import Genesis
from wire.types import sha256

SOMEWHERE = HostPort("127.0.0.1", 7400)


class Site:
    """A node's folder with two vote keys and two certificates."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name in ("vote", "vote-2"):
            create_key(folder, name)
        self.identities = {name: self_signed("dispatch") for name in ("peer", "peer-2")}
        for name, identity in self.identities.items():
            identity.save(folder / f"{name}.crt", folder / f"{name}.key")

    def public(self, name: str) -> bytes:
        return load_public_key(self.folder / f"{name}.pub").public

    def config(self, member: str = "dispatch", *, is_rotating: bool = False, **peers: object) -> NodeConfig:
        folder = self.folder
        node = NodeSection(
            member,
            folder / "data",
            folder / "genesis.cbor",
            folder / "vote.key",
            folder / "vote-2.key" if is_rotating else None,
        )
        section: dict[str, object] = {"addresses": {}, **peers}
        if is_rotating:
            section |= {"certificate_next": folder / "peer-2.crt", "key_next": folder / "peer-2.key"}
        paths = (folder / "peer.crt", folder / "peer.key")
        return NodeConfig(node, PeersSection(SOMEWHERE, *paths, **section), ApiSection(SOMEWHERE))  # type: ignore[arg-type]

    def admitted(self, name: str = "peer", member: str = "dispatch", address: str = "") -> Admitted:
        return Admitted(member, self.identities[name].der(), address)


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


def one(key: bytes, member: str = "dispatch") -> ValidatorSet:
    return ValidatorSet((Validator(member, key, sha256(b"tls")),))


# holds VM-10
def test_vote_keys_sign_with_the_one_that_the_set_names(site: Site) -> None:
    keys = load_vote_keys(site.config(is_rotating=True))
    first, second = site.public("vote"), site.public("vote-2")
    assert (keys.public, keys.active) == ((first, second), first)
    assert not keys.choose(one(first))
    assert keys.choose(one(second))
    assert keys.sign(b"x") == load_signing_key(site.folder / "vote-2.key").signing_key.sign(b"x").signature
    assert keys.owners("chain") == (owner_of("chain", "dispatch", second), owner_of("chain", "dispatch", first))
    # a set that names none of them, or not this member, changes nothing
    assert not keys.choose(one(sha256(b"other")))
    assert not keys.choose(one(first, "grid"))
    assert keys.active == second


def genesis_of(key: bytes) -> Genesis:
    genesis = make_genesis()
    return replace(genesis, validators=(replace(genesis.validators[0], vote_key=key),))


def test_seat_of_a_validator_with_the_key_of_the_genesis_file_is_fine(site: Site) -> None:
    config = site.config(is_rotating=True)
    check_seat(config, genesis_of(site.public("vote")), load_vote_keys(config))
    check_seat(config, genesis_of(site.public("vote-2")), load_vote_keys(config))


def test_seat_of_a_validator_with_another_key_is_refused_unless_it_follows(site: Site) -> None:
    config = site.config(addresses={"grid": SOMEWHERE})
    keys = load_vote_keys(config)
    genesis = genesis_of(key_of("vote").verify_key.encode())
    with pytest.raises(ConfigurationError, match="--follow"):
        check_seat(config, genesis, keys)
    check_seat(config, genesis, keys, is_following=True)


def test_seat_of_a_joiner_needs_somebody_to_follow(site: Site) -> None:
    genesis = make_genesis()
    config = site.config("lab", addresses={"dispatch": SOMEWHERE})
    check_seat(config, genesis, load_vote_keys(config))
    alone = site.config("lab", addresses={"lab": SOMEWHERE})
    with pytest.raises(ConfigurationError, match="names nobody"):
        check_seat(alone, genesis, load_vote_keys(alone))


# holds VM-11
def test_peer_book_trusts_what_is_admitted_and_leaves_out_what_is_no_certificate(site: Site) -> None:
    book = PeerBook("dispatch", site.config().peers)
    own = site.admitted()
    trust = book.trust((own, Admitted("grid", b"\x30\x03abc", "")))
    assert trust.members == {sha256(own.tls_certificate): "dispatch"}


# holds VM-11
def test_peer_book_presents_the_next_certificate_once_the_ledger_knows_it(site: Site) -> None:
    config = site.config(is_rotating=True)
    book = PeerBook("dispatch", config.peers)
    paths = (config.peers.certificate, config.peers.key)
    assert book._identity({sha256(site.admitted().tls_certificate): ("dispatch", b"")}) == paths
    following = book._identity({sha256(site.admitted("peer-2").tls_certificate): ("dispatch", b"")})
    assert following == (config.peers.certificate_next, config.peers.key_next)


# holds VM-11
def test_peer_book_dials_the_configured_address_before_that_of_the_ledger(site: Site) -> None:
    configured = HostPort("10.0.0.1", 1)
    folder = site.folder
    peers = site.config(
        addresses={"grid": configured, "old": configured, "dispatch": configured},
        certificates={"old": folder / "peer-2.crt"},
    ).peers
    book = PeerBook("dispatch", peers)
    told = (
        site.admitted(),
        Admitted("grid", b"", "elsewhere.example:7"),
        Admitted("lab", b"", "lab.example:7"),
        Admitted("maker", b"", ""),
        Admitted("maker-b", b"", "[:::]:99999"),
    )
    assert book.addresses(told) == {"grid": configured, "lab": HostPort("lab.example", 7), "old": configured}
    assert book.unreachable == {"maker", "maker-b"}
    assert book.trust((site.admitted(),)).members == {
        sha256(site.identities["peer"].der()): "dispatch",
        sha256(site.identities["peer-2"].der()): "old",
    }


def test_vote_keys_without_a_next_one_are_one(site: Site) -> None:
    keys = load_vote_keys(site.config())
    assert isinstance(keys, VoteKeys)
    assert keys.public == (site.public("vote"),)
