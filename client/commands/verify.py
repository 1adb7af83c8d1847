"""gridwitness verify: check a proof offline. gridwitness genesis: look into a genesis file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final

import typer

from client.evidencebundles import judge, show_judged
from client.options import GenesisOption, JsonOption
from client.output import lines_of, short, show_rows, when
from client.proof import Proof, lines_for, prove, prove_other, to_json
from kit.exitcodes import DataError
from kit.files import read_bounded
from kit.terminal import Terminal, print_json
from wire import evidencebundle
from wire.errors import WireError
from wire.evidence import Evidence
from wire.evidencebundle import EVIDENCE_BUNDLE_BYTES_MAX
from wire.genesis import GENESIS_BYTES_MAX, Genesis, decode_genesis
from wire.receipt import BUNDLE_BYTES_MAX
from wire.stateproof import STATE_PROOF_BYTES_MAX

FILE_BYTES_MAX: Final = max(BUNDLE_BYTES_MAX, STATE_PROOF_BYTES_MAX, EVIDENCE_BUNDLE_BYTES_MAX)

app = typer.Typer(no_args_is_help=True, help="Look into a genesis file.")


def verify(
    file: Annotated[
        Path,
        typer.Argument(help="File of 'gridwitness tx get', 'bundles' or 'state get', fault proof, or conflict."),
    ],
    genesis: GenesisOption,
    *,
    json: JsonOption = False,
) -> None:
    """Prove offline that a transaction is in the ledger and what came of it; only the genesis file is trusted.

    Checked are the sender's signature, the transaction's and the outcome's place in the block, and the signatures of a
    quorum of validators over that block. The bundle of an alarm, a device or a gateway's period is checked part by
    part, and sentences say what it proves and what not. A state proof, a history proof or a fault proof is taken, too:
    it shows what stood under a key, that an old block is in the chain, or that a validator broke the protocol. Exit
    code 0: all of it holds; 65: it does not, and the message says what.

    Example: gridwitness verify report.bundle --genesis genesis.cbor
    """
    trusted = load_genesis(genesis)
    raw = read_bounded(file, bytes_max=FILE_BYTES_MAX)
    try:
        if evidencebundle.is_one(raw):
            show_judged(Terminal(as_json=json), judge(raw, trusted))
            return
        found = prove_other(raw, trusted)
        proof = prove(raw, trusted) if found is None else None
    except WireError as error:
        raise DataError(f"{file} does not verify: {error}") from error
    if proof is None:
        assert found is not None, "one of the two is there"
        Terminal(as_json=json).show(found, lambda: lines_for(found) or lines_of(found))
        return
    if json:
        print_json(proof.to_json())
    else:
        _show_proof(Terminal(), file, proof, trusted)


def load_genesis(path: Path) -> Genesis:
    """Read and check a genesis file.

    Raises:
        DataError: It is none.
    """
    try:
        return decode_genesis(read_bounded(path, bytes_max=GENESIS_BYTES_MAX))
    except WireError as error:
        raise DataError(f"{path} is no genesis file: {error}") from error


@app.command()
def show(
    file: Annotated[Path, typer.Argument(help="Genesis file.")],
    *,
    json: JsonOption = False,
) -> None:
    """Show what everybody agreed on before the first block.

    Example: gridwitness genesis show genesis.cbor
    """
    genesis = load_genesis(file)
    if json:
        print_json(_genesis_json(genesis))
        return
    terminal = Terminal()
    _say_pairs(
        terminal,
        {
            "chain": genesis.chain(),
            "digest": genesis.digest().hex(),
            "time": when(genesis.time_ms),
            "quorum": f"{genesis.validator_set().quorum} of {len(genesis.validators)}",
            "parameters": ", ".join(f"{name} {to_json(value)}" for name, value in sorted(genesis.parameters.items())),
        },
    )
    stations = {gateway.id: gateway.station for gateway in genesis.gateways}
    terminal.say("")
    show_rows(
        terminal,
        ("validator", "vote key"),
        [(entry.member, short(entry.vote_key.hex())) for entry in genesis.validators],
    )
    terminal.say("")
    show_rows(
        terminal,
        ("organisation", "role", "keys"),
        [
            (entry.id, entry.role, sum(key.organisation == entry.id for key in genesis.keys))
            for entry in genesis.organisations
        ],
    )
    terminal.say("")
    show_rows(
        terminal,
        ("device", "station", "gateway", "vendor", "model", "serial"),
        [
            (entry.id, stations[entry.gateway], entry.gateway, entry.vendor, entry.model, entry.serial)
            for entry in genesis.devices
        ],
    )


def _genesis_json(genesis: Genesis) -> dict[str, object]:
    return {
        "name": genesis.name,
        "chain": genesis.chain(),
        "digest": genesis.digest().hex(),
        "time_ms": genesis.time_ms,
        "quorum": genesis.validator_set().quorum,
        "validators": [
            {"member": entry.member, "vote_key": entry.vote_key.hex(), "tls_digest": entry.tls_digest.hex()}
            for entry in genesis.validator_set().validators
        ],
        "organisations": [{"id": entry.id, "role": entry.role} for entry in genesis.organisations],
        "keys": [
            {"key": entry.key.hex(), "sender": entry.sender, "organisation": entry.organisation}
            for entry in genesis.keys
        ],
        "stations": [
            {"id": entry.id, "area": entry.area, "organisation": entry.organisation} for entry in genesis.stations
        ],
        "gateways": [{"id": entry.id, "station": entry.station} for entry in genesis.gateways],
        "devices": [
            {
                "id": entry.id,
                "gateway": entry.gateway,
                "vendor": entry.vendor,
                "model": entry.model,
                "serial": entry.serial,
            }
            for entry in genesis.devices
        ],
        "parameters": to_json(genesis.parameters),
        "code_table": [
            {"name": entry.name, "version": entry.version, "digest": entry.digest.hex()} for entry in genesis.code_table
        ],
    }


def _say_pairs(terminal: Terminal, pairs: dict[str, object]) -> None:
    for line in lines_of(pairs):
        terminal.say(line)


def _show_proof(terminal: Terminal, file: Path, proof: Proof, genesis: Genesis) -> None:
    header, call = proof.receipt.header, proof.tx.tx
    signers, ends = proof.receipt.certificate.signers, proof.receipt.epochs
    size = len(ends[-1].validators if ends else genesis.validators)
    known = "verified with the key in genesis"
    terminal.say(f"{file}: proven with the genesis file of {genesis.chain()} alone")
    _say_pairs(
        terminal,
        {
            "transaction": proof.tx.id.hex(),
            "sender": f"{call.sender}, seq {call.seq}",
            "signature": known if proof.key_in_genesis else "checked by the validators, with a key newer than genesis",
            "asks for": f"{call.contract} {call.method}, version {call.version}",
            "block": f"{header.height} of {when(header.time_ms)}, proposed by {header.proposer}",
            "signed by": f"{', '.join(signers)} ({len(signers)} of {size})",
            "outcome": proof.receipt.outcome.code,
        },
    )
    if proof.evidence is not None:
        _show_evidence(terminal, proof.evidence)
    events = proof.receipt.outcome.events
    if events:
        terminal.say("")
        rows = [(f"{event.contract} {event.type}", event.subject, event.data.get("cause")) for event in events]
        show_rows(terminal, ("event", "subject", "cause"), rows)


def _show_evidence(terminal: Terminal, evidence: Evidence) -> None:
    terminal.say("")
    terminal.say(
        f"report (boot {evidence.boot}, seq {evidence.seq}) of {evidence.gateway}, "
        f"signed {when(evidence.clock.time_ms)} by its own clock; it says that it had block {evidence.block.height}"
    )
    rows = [
        (entry.device, entry.status, when(entry.read_to_ms), short(entry.item_digest and entry.item_digest.hex()))
        for entry in evidence.devices
    ]
    show_rows(terminal, ("device", "status", "last read", "item"), rows)
