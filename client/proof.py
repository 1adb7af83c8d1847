"""What a bundle proves to somebody who trusts nothing but the genesis file: no network is touched."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from client.grid import proof as modelproof
from client.output import when
from wire import accessproof, cbor, faultproof, historyproof, lightclient, stateproof
from wire.accessproof import Access, decode_access_proof, verify_access_proof
from wire.cose import kid_of
from wire.errors import FormatError, SignatureError
from wire.evidence import Entry, Evidence, decode_evidence
from wire.faultproof import decode_fault_file, verify_fault_file
from wire.finality import FinalHeader
from wire.genesis import Genesis
from wire.historyproof import decode_history_proof, verify_history_proof
from wire.lightclient import decode_conflict, verify_conflict
from wire.receipt import Bundle, Event, Receipt, decode_bundle, verify_receipt
from wire.stateproof import STATE_PROOF_BYTES_MAX, decode_state_proof, verify_state_proof
from wire.tx import SignedTx, open_tx

REPORT = ("consistency", "report")


@dataclass(frozen=True, slots=True)
class Proof:
    """A transaction whose place in the ledger and whose outcome are proven."""

    tx: SignedTx
    receipt: Receipt
    key_in_genesis: bool
    """Genesis names the key, so the signature was checked here; else the validators did it, with a later key."""
    evidence: Evidence | None
    """What the report says, when the transaction is one."""

    def to_json(self) -> dict[str, object]:
        """Return what is proven as plain JSON values, bytes as lower-case hex."""
        header, call = self.receipt.header, self.tx.tx
        shown: dict[str, object] = {
            "verified": True,
            "chain": header.chain,
            "tx": self.tx.id.hex(),
            "sender": call.sender,
            "contract": call.contract,
            "method": call.method,
            "seq": call.seq,
            "signature": "genesis-key" if self.key_in_genesis else "later-key",
            "block": {
                "height": header.height,
                "digest": header.digest().hex(),
                "time_ms": header.time_ms,
                "proposer": header.proposer,
                "epoch": header.epoch,
                "signers": list(self.receipt.certificate.signers),
            },
            "index": self.receipt.index,
            "outcome": self.receipt.outcome.code,
            "events": [_event(event) for event in self.receipt.outcome.events],
        }
        if self.evidence is not None:
            shown["report"] = _report(self.evidence)
        return shown


def prove(raw: bytes, genesis: Genesis) -> Proof:
    """Check everything in a bundle.

    Args:
        raw: The bundle file, canonical CBOR.
        genesis: From the verifier's own disk.

    Raises:
        CborError: Not canonical.
        FormatError: A field is missing, unknown or out of range.
        SignatureError: The sender's signature does not verify, or the key is another account's.
        ProofError: The transaction or its outcome is not in the block.
        CertificateError: The block is not certified by the validators that genesis leads to.
    """
    bundle = decode_bundle(raw)
    verify_receipt(bundle.receipt, bundle.tx, genesis)
    return open_proven(bundle, genesis)


def open_proven(bundle: Bundle, genesis: Genesis) -> Proof:
    """Say what a transaction is whose receipt was verified before.

    Raises:
        FormatError: It is for another ledger, or its evidence is none.
        SignatureError: The sender's signature does not verify, or the key is another account's.
    """
    tx = open_tx(bundle.tx)
    if tx.tx.chain != genesis.chain():
        raise FormatError(f"transaction: it is for ledger {tx.tx.chain}, the genesis file is that of {genesis.chain()}")
    known = _verify_sender(tx, genesis)
    evidence = None
    if (tx.tx.contract, tx.tx.method) == REPORT:
        evidence = decode_evidence(_octets(tx.tx.args, "evidence"))
    return Proof(tx, bundle.receipt, known, evidence)


def _verify_sender(tx: SignedTx, genesis: Genesis) -> bool:
    """Check the signature when genesis knows the key, and say whether it does."""
    entry = next((entry for entry in genesis.keys if kid_of(entry.key) == tx.envelope.kid), None)
    if entry is None:
        return False
    tx.verify(entry.key)
    if entry.sender != tx.tx.sender:
        raise SignatureError(f"transaction: its key is that of {entry.sender!r}, not of {tx.tx.sender!r}")
    return True


def _octets(args: dict[str, cbor.Value], name: str) -> bytes:
    value = args.get(name)
    if not isinstance(value, bytes):
        raise FormatError(f"transaction.args.{name}: bytes are due")
    return value


def _event(event: Event) -> dict[str, object]:
    return {
        "contract": event.contract,
        "type": event.type,
        "subject": event.subject,
        "data": to_json(event.data),
    }


def _report(evidence: Evidence) -> dict[str, object]:
    return {
        "gateway": evidence.gateway,
        "boot": evidence.boot,
        "seq": evidence.seq,
        "time_ms": evidence.clock.time_ms,
        "clock": {"source": evidence.clock.source, "grade": evidence.clock.grade},
        "seen_block": {"height": evidence.block.height, "digest": evidence.block.digest.hex()},
        "devices": [_device(entry) for entry in evidence.devices],
    }


def _device(entry: Entry) -> dict[str, object]:
    return {
        "device": entry.device,
        "status": entry.status,
        "read_from_ms": entry.read_from_ms,
        "read_to_ms": entry.read_to_ms,
        "item_digest": None if entry.item_digest is None else entry.item_digest.hex(),
        "item": None if entry.item is None else to_json(entry.item.to_value()),
    }


def to_json(value: cbor.Value) -> object:
    """Turn CBOR values into JSON ones; bytes become lower-case hex."""
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, list):
        return [to_json(entry) for entry in value]
    if isinstance(value, dict):
        return {str(key): to_json(entry) for key, entry in value.items()}
    return value


def prove_other(raw: bytes, genesis: Genesis) -> dict[str, object] | None:
    """Verify a state, history or fault proof, or a conflict; return what it proves as plain JSON values, else None.

    Args:
        raw: The file.
        genesis: From the verifier's own disk.

    Raises:
        WireError: It is one of them, and does not verify.
    """
    value = cbor.decode(raw, bytes_max=STATE_PROOF_BYTES_MAX)
    kind = value.get("type") if isinstance(value, dict) else None
    if kind == stateproof.TYPE:
        proof = decode_state_proof(raw)
        verify_state_proof(proof, genesis)
        return {
            "verified": True,
            "type": kind,
            "namespace": proof.namespace,
            "key": proof.key.hex(),
            "present": proof.value is not None,
            "value": None if proof.value is None else to_json(cbor.decode(proof.value)),
            **_final(proof.final),
        }
    if kind == historyproof.INCLUSION:
        history = decode_history_proof(raw)
        verify_history_proof(history, genesis)
        old = history.header
        return {
            "verified": True,
            "type": kind,
            "old_height": old.height,
            "old_digest": old.digest().hex(),
            "old_time_ms": old.time_ms,
            **_final(history.final),
        }
    if kind == accessproof.TYPE:
        return access_to_json(verify_access_proof(decode_access_proof(raw), genesis))
    if kind == faultproof.FILE_TYPE:
        return _prove_fault(raw, genesis)
    if kind == lightclient.TYPE:
        return _prove_conflict(raw, genesis)
    if kind == modelproof.TYPE:
        raise FormatError("it is the proof of a model; see 'gridwitness models verify --help'")
    return None


def lines_for(found: Mapping[str, Any]) -> list[str] | None:
    """Return what `prove_other` gave as sentences, where there are any: who could read something."""
    if found["type"] != accessproof.TYPE:
        return None
    readers = [f"{entry['reader']}, by grant {entry['id']} of {entry['by']}" for entry in found["grants"]]
    asked = f"{found['class']} of {found['subject']} after block {found['height']} of {when(found['time_ms'])}"
    return [
        f"who could read {asked}, as block {found['known_height']} proves:",
        *(f"  {line}" for line in readers or ["nobody by a grant on exactly this subject"]),
        f"  {len(found['others'])} more grants did not count then",
        "  the owner, the station's gateways and a content's sealer need no grant",
    ]


def access_to_json(found: Access) -> dict[str, object]:
    """Return who could read, as proven, as plain JSON values."""
    return {
        "verified": True,
        "type": accessproof.TYPE,
        "class": found.data_class,
        "subject": found.subject,
        "height": found.height,
        "time_ms": found.time_ms,
        "known_height": found.known_height,
        "grants": [to_json(entry.to_value()) for entry in found.grants],
        "others": [to_json(entry.to_value()) for entry in found.others],
    }


def _prove_fault(raw: bytes, genesis: Genesis) -> dict[str, object]:
    file = decode_fault_file(raw)
    verify_fault_file(file, genesis)
    proof = file.proof
    sides = [(said.step.name.lower().replace("_", "-"), said.view) for said in (proof.first, proof.second)]
    return {
        "verified": True,
        "type": faultproof.FILE_TYPE,
        "chain": proof.chain,
        "member": proof.member,
        "kind": proof.kind,
        "epoch": proof.epoch,
        "height": proof.height,
        "signed": " and ".join(f"{step} in view {view}" for step, view in sides),
        "digest": proof.digest().hex(),
    }


def _prove_conflict(raw: bytes, genesis: Genesis) -> dict[str, object]:
    conflict = decode_conflict(raw)
    culprits = verify_conflict(conflict, genesis)
    first, second = conflict.first.header, conflict.second.header
    return {
        "verified": True,
        "type": lightclient.TYPE,
        "chain": first.chain,
        "first_height": first.height,
        "first_digest": first.digest().hex(),
        "second_height": second.height,
        "second_digest": second.digest().hex(),
        "signed_twice": list(culprits),
    }


def _final(final: FinalHeader) -> dict[str, object]:
    header = final.header
    return {
        "chain": header.chain,
        "height": header.height,
        "time_ms": header.time_ms,
        "signers": list(final.certificate.signers),
    }
