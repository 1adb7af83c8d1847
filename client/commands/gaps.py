"""gridwitness gaps: whether evidence of a gateway is missing, proven by the ledger's state."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Final
from urllib.parse import quote

import typer

from client.commands.verify import load_genesis
from client.gapwords import NAMESPACE, NOT_SHOWN, PREFIX, gap_lines, unknown_parts
from client.options import URL_VARIABLE, GenesisOption, JsonOption
from client.outfiles import ForceOption, check_out, write_out
from client.output import lines_of, when
from client.times import time_ms
from kit.exitcodes import DataError, UsageError, exit_code_of
from kit.files import read_bounded
from kit.http import NodeClient
from kit.terminal import Terminal
from rules.gaps import Gaps, gaps, read_counters
from wire.errors import WireError
from wire.stateproof import STATE_PROOF_BYTES_MAX, StateProof, decode_state_proof, verify_state_proof
from wire.types import IDENTIFIER_PATTERN

_MS_MAX: Final = 2**62

app = typer.Typer(no_args_is_help=True, help="Prove whether evidence of a gateway is missing.")


@app.command()
def check(
    gateway: Annotated[str, typer.Argument(help="Gateway whose numbers are looked at.")],
    genesis: GenesisOption,
    node: Annotated[
        str | None, typer.Option("--node", metavar="URL", envvar=URL_VARIABLE, help="Full node to ask for the proof.")
    ] = None,
    file: Annotated[
        Path | None, typer.Option("--file", metavar="FILE", help="A proof that --out wrote: no node is asked.")
    ] = None,
    begin: Annotated[
        str, typer.Option("--from", metavar="TIME", help="Begin of the period, by the gateway's clock.")
    ] = "",
    end: Annotated[
        str, typer.Option("--to", metavar="TIME", help="End of the period; the proof's block if not given.")
    ] = "",
    out: Annotated[Path | None, typer.Option("--out", metavar="FILE", help="Where to write the proof.")] = None,
    *,
    force: ForceOption = False,
    json: JsonOption = False,
) -> int:
    """Say which numbers of a gateway's evidence the ledger never took, or that none is missing.

    A gateway numbers what it signs, and the ledger keeps which numbers it took: a state proof shows what stands there.
    The proof is checked with the genesis file alone, so it can be kept and checked by anybody.

    Exit code 0: nothing is missing; 2: something is, by name; 16: part of the period is not known yet, or not any more;
    65: the proof does not verify.

    Example: gridwitness gaps check gw-linden --from 2026-11-01 --to 2026-11-23 --genesis genesis.cbor --node URL
    """
    if IDENTIFIER_PATTERN.fullmatch(gateway) is None:
        raise UsageError(f"{gateway!r} is no gateway; expected an id such as gw-linden")
    check_out(out, force=force)
    raw = _fetch(gateway, node) if file is None else read_bounded(file, bytes_max=STATE_PROOF_BYTES_MAX)
    where = node if file is None else file
    try:
        proof = decode_state_proof(raw)
        verify_state_proof(proof, load_genesis(genesis))
        if (proof.namespace, proof.key) != (NAMESPACE, (PREFIX + gateway).encode()):
            raise DataError(f"{where} is the proof of another key")
        counters = read_counters(proof.value)
    except WireError as error:
        raise DataError(f"the proof of {where} does not verify: {error}") from error
    if out is not None:
        write_out(out, raw, force=force)
    from_ms = time_ms(begin, "--from") if begin else None
    to_ms = time_ms(end, "--to") if end else proof.final.header.time_ms
    found = gaps(counters, from_ms or 0, to_ms)
    unknown = unknown_parts(found, from_ms, to_ms if end else None, counters.before_boot)
    _show(Terminal(as_json=json), gateway, proof, found, (from_ms, to_ms), unknown)
    words = ["missing"] if found.missing or found.unseen else []
    return exit_code_of([*words, *(["stale"] if unknown else [])])


def _fetch(gateway: str, node: str | None) -> bytes:
    if node is None:
        raise UsageError("name a node with --node, or a proof with --file")
    with NodeClient([node]) as client:
        return client.get_bytes(
            f"/v1/state/{NAMESPACE}/{quote(PREFIX + gateway, safe='')}", {"proof": "1", "format": "cbor"}
        )


def _show(
    terminal: Terminal,
    gateway: str,
    proof: StateProof,
    found: Gaps,
    period: tuple[int | None, int],
    unknown: list[str],
) -> None:
    header = proof.final.header
    is_complete = not found.missing and not found.unseen
    value = {
        "gateway": gateway,
        "verified": True,
        "chain": header.chain,
        "height": header.height,
        "time_ms": header.time_ms,
        "signers": list(proof.final.certificate.signers),
        "from_ms": period[0],
        "to_ms": period[1],
        "nothing_missing": is_complete,
        "missing": [asdict(one) for one in found.missing],
        "unseen": [asdict(one) for one in found.unseen],
        "known_from_ms": found.known_from_ms,
        "known_to_ms": found.known_to_ms,
        "unknown": unknown,
        "not_shown": NOT_SHOWN,
    }
    terminal.show(value, lambda: _lines(gateway, proof, found, unknown))


def _lines(gateway: str, proof: StateProof, found: Gaps, unknown: list[str]) -> list[str]:
    header = proof.final.header
    return [
        f"{gateway}: {'; '.join(gap_lines(found))}",
        *unknown,
        *lines_of(
            {
                "proven by": f"block {header.height} of {when(header.time_ms)} of {header.chain}",
                "signed by": ", ".join(proof.final.certificate.signers),
                "known": f"{when(found.known_from_ms)} to {when(found.known_to_ms)}, by the gateway's clock",
                "not shown": NOT_SHOWN,
            }
        ),
    ]
