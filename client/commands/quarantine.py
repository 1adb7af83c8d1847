"""gridwitness quarantine: let a node vote again when no quorum is left without it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from client.commands.verify import load_genesis
from client.options import GenesisOption, JsonOption
from client.outfiles import check_out
from client.output import lines_of
from kit.exitcodes import DataError
from kit.files import read_bounded, write_new
from kit.keystore import load_signing_key
from kit.terminal import Terminal
from wire.certificate import verify_certificate
from wire.errors import WireError
from wire.genesis import Genesis
from wire.types import check_identifier
from wire.unlock import (
    REPORT,
    STATEMENT_BYTES_MAX,
    UNLOCK_BYTES_MAX,
    LockStatement,
    Unlock,
    decode_statement,
    decode_unlock,
    merge_reports,
)

app = typer.Typer(no_args_is_help=True, help="Let a node in quarantine vote again when no quorum is left without it.")

OutOption = Annotated[Path, typer.Option("--out", metavar="FILE", help="File to write; never overwritten.")]


@app.command()
def statement(
    locked: Annotated[Path, typer.Argument(help="Report of the locked node, by 'gridwitness-node lock-report'.")],
    others: Annotated[list[Path] | None, typer.Argument(help="Reports of all other nodes that can be reached.")] = None,
    *,
    genesis: GenesisOption,
    out: OutOption,
    json: JsonOption = False,
) -> None:
    """Make the statement that organisations sign from the reports of the nodes.

    The node resumes where anybody is, with the highest certificate that anybody holds. A node whose report is missing
    may hold a higher one: that is the risk which the signers accept.

    Example: gridwitness quarantine statement east.report west.report --genesis genesis.cbor --out east.unlock
    """
    check_out(out, can_force=False)
    trusted = load_genesis(genesis)
    try:
        made = merge_reports(_report(locked, trusted), [_report(path, trusted) for path in others or ()])
    except WireError as error:
        raise DataError(str(error)) from error
    write_new(out, Unlock(made).encode())
    shown = {**_shown(Unlock(made)), "reports": 1 + len(others or ()), "file": str(out)}
    Terminal(as_json=json).show(shown, lambda: lines_of(shown))


@app.command()
def sign(
    file: Annotated[Path, typer.Argument(help="Statement, signed by others or not.")],
    organisation: Annotated[str, typer.Option("--organisation", metavar="ID", help="Whose root key it is.")],
    key: Annotated[Path, typer.Option("--key", metavar="FILE", help="The organisation's root key, NAME.key.")],
    out: OutOption,
    *,
    json: JsonOption = False,
) -> None:
    """Sign a statement for an organisation, beside those who have signed it already.

    Read first what 'quarantine show' says: whoever signs accepts that a block that only unreachable nodes know of may
    be contradicted.

    Example: gridwitness quarantine sign east.unlock --organisation dispatch --key dispatch.key --out east.unlock-1
    """
    check_identifier(organisation, "organisation")
    check_out(out, can_force=False)
    unlock = _unlock(file)
    signer = load_signing_key(key)
    signature = signer.signing_key.sign(unlock.statement.signed_bytes()).signature
    signed = unlock.signed(organisation, signer.public, signature)
    write_new(out, signed.encode())
    shown = {**_shown(signed), "file": str(out)}
    Terminal(as_json=json).show(shown, lambda: lines_of(shown))


@app.command()
def show(
    file: Annotated[Path, typer.Argument(help="Statement, signed or not.")],
    *,
    json: JsonOption = False,
) -> None:
    """Show what a statement allows and who has signed it; the node itself checks the signatures.

    Example: gridwitness quarantine show east.unlock
    """
    shown = _shown(_unlock(file))
    Terminal(as_json=json).show(shown, lambda: lines_of(shown))


def _report(path: Path, genesis: Genesis) -> LockStatement:
    """Read a report; a certificate of epoch 0 in it is checked here, later ones by the node.

    Raises:
        DataError: It is no report, of another ledger, or its certificate does not verify.
    """
    try:
        report = decode_statement(read_bounded(path, bytes_max=STATEMENT_BYTES_MAX), REPORT)
        if report.prepared is not None and report.prepared.epoch == 0:
            verify_certificate(report.prepared, genesis.chain(), genesis.validator_set())
    except WireError as error:
        raise DataError(f"{path} is no report of a node: {error}") from error
    if report.chain != genesis.chain():
        raise DataError(f"{path} is of ledger {report.chain}, not of {genesis.chain()}")
    return report


def _unlock(path: Path) -> Unlock:
    try:
        return decode_unlock(read_bounded(path, bytes_max=UNLOCK_BYTES_MAX))
    except WireError as error:
        raise DataError(f"{path} is no statement: {error}") from error


def _shown(unlock: Unlock) -> dict[str, object]:
    made = unlock.statement
    prepared = made.prepared
    return {
        "chain": made.chain,
        "node": made.node,
        "vote_key": made.vote_key.hex(),
        "lock": made.lock.hex(),
        "resume_height": made.resume_height,
        "view": made.view,
        "prepared": None if prepared is None else f"view {prepared.view}, block {prepared.digest.hex()}",
        "signed_by": [entry[0] for entry in unlock.signatures],
    }
