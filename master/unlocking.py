"""Commands of `gridwitness-node` for a quarantine that cannot end by itself: lock-report, unlock."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import typer

from kit.exitcodes import DataError, TryAgainError
from kit.files import read_bounded, write_new
from kit.terminal import Terminal
from master.config import NodeConfig, load_genesis, load_node_config
from master.consensus.guard import SignerGuard
from master.consensus.records import Prepared, Record, decode_record, encode_record
from master.consensus.unlocking import known_at
from master.contracts import membership
from master.io.store import Store
from master.io.wal import WriteAheadLog
from master.ledger.call import decode_entry
from master.making import STORE_FOLDER, WAL_FILE
from master.seat import VoteKeys, load_vote_keys, open_guard
from wire.certificate import Certificate, ValidatorSet
from wire.errors import WireError
from wire.genesis import Genesis
from wire.header import ZERO_DIGEST
from wire.types import INT_MAX
from wire.unlock import REPORT, UNLOCK_BYTES_MAX, LockStatement, Unlock, decode_unlock, verify_unlock

Config = Annotated[Path, typer.Option("--config", help="The node's TOML file.", show_default=True)]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]
DEFAULT_CONFIG = Path("/etc/gridwitness/node.toml")


def lock_report(
    out: Annotated[Path, typer.Option("--out", help="File to write; never overwritten.")],
    config: Config = DEFAULT_CONFIG,
    *,
    as_json: AsJson = False,
) -> None:
    """Write down where a stopped node stands, for those who decide whether a node in quarantine may vote again.

    Run it on every node that can be reached, locked or not: the highest height and certificate of all of them decide.

    Example: gridwitness-node lock-report --out east.report --config /etc/gridwitness/node.toml
    """
    loaded = load_node_config(config)
    genesis = load_genesis(loaded)
    with _store(loaded, genesis) as store:
        keys = _keys(loaded, store, genesis)
        with open_guard(loaded, keys.owners(genesis.chain())) as guard_file:
            place = (genesis.chain(), loaded.node.member, keys.active)
            report = report_of(place, store.head().height + 1, guard_file.guard, _records(loaded))
    write_new(out, report.encode())
    value = {**_shown(report), "file": str(out), "locked": report.lock != ZERO_DIGEST}
    Terminal(as_json=as_json).show(value, lambda: [f"{name:13} {text}" for name, text in value.items()])


def unlock(
    file: Annotated[Path, typer.Argument(help="Statement that 'gridwitness quarantine sign' has signed.")],
    config: Config = DEFAULT_CONFIG,
    *,
    as_json: AsJson = False,
) -> None:
    """End the quarantine of a stopped node, as a quorum of organisations signed it; once, for this quarantine alone.

    Exit code 65: the statement does not hold, is used up, or the ledger has moved on; 75: the node must catch up first.

    Example: gridwitness-node unlock unlock.signed --config /etc/gridwitness/node.toml
    """
    loaded = load_node_config(config)
    genesis = load_genesis(loaded)
    try:
        signed = decode_unlock(read_bounded(file, bytes_max=UNLOCK_BYTES_MAX))
        with _store(loaded, genesis) as store:
            keys = _keys(loaded, store, genesis)
            with open_guard(loaded, keys.owners(genesis.chain())) as guard_file:
                own = (loaded.node.member, keys.active)
                guard = _checked(signed, own, genesis, store, guard_file.guard)
                prepared = signed.statement.prepared
                if prepared is not None:
                    _append(loaded, Prepared(prepared))  # before the guard says that there is one
                guard_file.save(guard)
    except WireError as error:
        raise DataError(f"{file}: {error}") from error
    value = {**_shown(signed.statement), "signed_by": [entry[0] for entry in signed.signatures]}
    Terminal(as_json=as_json).show(value, lambda: _unlocked_lines(signed))


def report_of(
    place: tuple[str, str, bytes], height: int, guard: SignerGuard | None, records: Iterable[Record]
) -> LockStatement:
    """Return where a node stands that decides ``height``; ``place`` is (chain, member, vote key)."""
    chain, member, vote_key = place
    view, prepared = known_at(height, guard, records)
    return LockStatement(
        kind=REPORT,
        chain=chain,
        node=member,
        vote_key=vote_key,
        lock=ZERO_DIGEST if guard is None else guard.lock,
        resume_height=height,
        view=view,
        prepared=prepared,
    )


def _checked(
    signed: Unlock, own: tuple[str, bytes], genesis: Genesis, store: Store, guard: SignerGuard | None
) -> SignerGuard:
    """Return the guard that the statement allows.

    Raises:
        DataError: The statement is for another node or quarantine, or comes too late.
        TryAgainError: The store is behind the height at which the node may vote again.
        WireError: Too few organisations signed it, or a certificate in it proves nothing.
    """
    statement, head = signed.statement, store.head().height
    epoch, validators = _epoch(store, genesis)
    verify_unlock(signed, genesis.chain(), epoch, validators, _root_keys(store))
    if (statement.node, statement.vote_key) != own:
        raise DataError(f"the statement is for {statement.node}, this is {own[0]}")
    if guard is None or guard.lock == ZERO_DIGEST:
        raise DataError("this node is not locked; if its guard is lost, start it once, then make a new report")
    if statement.lock != guard.lock:
        raise DataError("the statement is for another quarantine: it was used before, or the guard was lost again")
    if head >= statement.resume_height:
        raise DataError(f"the ledger has moved on to block {head}: the quarantine ends by itself")
    if head < statement.resume_height - 1:
        raise TryAgainError(f"this node has block {head}; start it, let it catch up to {statement.resume_height - 1}")
    prepared = statement.prepared
    return guard.unlocked(statement.resume_height, statement.view, None if prepared is None else prepared.view)


def _keys(loaded: NodeConfig, store: Store, genesis: Genesis) -> VoteKeys:
    """Return the node's vote keys; that one is active which the present validators name."""
    keys = load_vote_keys(loaded)
    keys.choose(_epoch(store, genesis)[1])
    return keys


def _epoch(store: Store, genesis: Genesis) -> tuple[int, ValidatorSet]:
    """Return number and validators of the epoch that decides the next block."""
    ends = store.epoch_ends(INT_MAX)
    return len(ends), ends[-1].validators if ends else genesis.validator_set()


def _root_keys(store: Store) -> dict[str, list[bytes]]:
    """Return the keys that may sign for an organisation itself."""
    found: dict[str, list[bytes]] = {}
    for _, raw in store.scan(membership.NAMESPACE, b"key/"):
        key = membership.decode_account_key(decode_entry(raw))
        if key.sender == key.organisation:
            found.setdefault(key.organisation, []).append(key.key)
    return found


def _store(loaded: NodeConfig, genesis: Genesis) -> Store:
    return Store.open(loaded.node.data_dir / STORE_FOLDER, genesis, map_bytes=loaded.node.map_mib << 20)


def _records(loaded: NodeConfig) -> list[Record]:
    log = WriteAheadLog(loaded.node.data_dir / WAL_FILE)
    try:
        return [decode_record(raw) for raw in log.read()]
    finally:
        log.close()


def _append(loaded: NodeConfig, record: Record) -> None:
    log = WriteAheadLog(loaded.node.data_dir / WAL_FILE)
    try:
        log.read()
        log.append([encode_record(record)])
    finally:
        log.close()


def _shown(statement: LockStatement) -> dict[str, object]:
    return {
        "chain": statement.chain,
        "node": statement.node,
        "vote_key": statement.vote_key.hex(),
        "lock": statement.lock.hex(),
        "resume_height": statement.resume_height,
        "view": statement.view,
        "prepared": _certificate_shown(statement.prepared),
    }


def _certificate_shown(certificate: Certificate | None) -> str | None:
    return None if certificate is None else f"view {certificate.view}, block {certificate.digest.hex()}"


def _unlocked_lines(signed: Unlock) -> list[str]:
    statement = signed.statement
    carried = "no certificate" if statement.prepared is None else f"the certificate of view {statement.prepared.view}"
    place = f"height {statement.resume_height}, view {statement.view}"
    return [
        f"{statement.node} may vote again from {place} on, with {carried}",
        f"signed by {', '.join(entry[0] for entry in signed.signatures)}",
        "what they accept: if lost votes made a block of that height final and only nodes know of it that did not",
        "report, another block may become final there",
        "start the node now; the statement cannot be used again",
    ]
