"""The program `gridwitness-node`: makes a ledger's genesis file, a node's store, and runs the node."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from kit.exitcodes import DataError, run
from kit.files import write_new
from kit.http import NodeClient
from kit.logs import configure_logs
from kit.terminal import Terminal
from kit.tls import self_signed
from kit.version import offer_version
from master import broker_files, rehearsing, replaying, unlocking, upkeep
from master.app import run_node
from master.config import load_node_config
from master.consortium import build_genesis
from master.contracts.table import own_software
from master.making import init_node
from wire.types import check_identifier

PROGRAM = "gridwitness-node"

app = typer.Typer(
    name=PROGRAM,
    help="A full node: agrees on what gateways report, judges it and serves it.",
    epilog="Example: gridwitness-node run --config /etc/gridwitness/node.toml",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
offer_version(app, PROGRAM)

Config = Annotated[Path, typer.Option("--config", help="The node's TOML file.", show_default=True)]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]
_DEFAULT_CONFIG = Path("/etc/gridwitness/node.toml")


@app.command(epilog="Example: gridwitness-node certificate dispatch-centre --out /etc/gridwitness/keys")
def certificate(
    member: Annotated[str, typer.Argument(help="The validator's member id.")],
    out: Annotated[Path, typer.Option(help="Folder that takes MEMBER.crt and MEMBER.tls.key.")],
    as_json: AsJson = False,
) -> None:
    """Make the TLS certificate by which the other validators know this node."""
    check_identifier(member, "member")
    out.mkdir(parents=True, exist_ok=True)
    certificate_path, key_path = out / f"{member}.crt", out / f"{member}.tls.key"
    self_signed(member).save(certificate_path, key_path)
    value = {"certificate": str(certificate_path), "key": str(key_path)}
    Terminal(as_json=as_json).show(value, lambda: [f"wrote {certificate_path} and {key_path}"])


@app.command(epilog="Example: gridwitness-node genesis consortium.toml --out genesis.cbor")
def genesis(
    consortium: Annotated[Path, typer.Argument(help="The consortium's TOML file.")],
    out: Annotated[Path, typer.Option(help="File to write; never overwritten.")],
    as_json: AsJson = False,
) -> None:
    """Write the genesis file of a new ledger."""
    made = build_genesis(consortium)
    write_new(out, made.encode())
    value = {"chain": made.chain(), "digest": made.digest().hex(), "file": str(out)}
    Terminal(as_json=as_json).show(value, lambda: [f"wrote {out}: ledger {made.chain()}"])


@app.command("code-table", epilog="Example: gridwitness-node code-table --json")
def code_table_command(as_json: AsJson = False) -> None:
    """Show the contracts that this software runs and the digests of their code."""
    rows = [
        {"name": entry.name, "version": entry.version, "digest": entry.digest.hex()}
        for entry in own_software().everything()
    ]
    value = {"contracts": rows}
    lines = [f"{row['name']} {row['version']} {row['digest']}" for row in rows]
    Terminal(as_json=as_json).show(value, lambda: lines)


@app.command(epilog="Example: gridwitness-node init --config node.toml")
def init(
    config: Config = _DEFAULT_CONFIG,
    follow: Annotated[
        bool, typer.Option("--follow", help="The genesis file names another vote key for this member; see rotation.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Make the node's store with the state of height 0; an existing store is never touched.

    A member that the genesis file does not name follows the ledger and votes once the ledger names it.
    """
    loaded = load_node_config(config)
    made = init_node(loaded, is_following=follow)
    value = {"chain": made.chain(), "data_dir": str(loaded.node.data_dir)}
    Terminal(as_json=as_json).show(value, lambda: [f"{loaded.node.data_dir}: ready for ledger {made.chain()}"])


@app.command("run", epilog="Example: gridwitness-node run --config node.toml")
def run_command(
    config: Config = _DEFAULT_CONFIG,
    log_level: Annotated[str | None, typer.Option(help="debug, info, warning or error.")] = None,
    *,
    as_json: AsJson = False,
) -> None:
    """Run the node until SIGTERM or Ctrl-C; logs go to stderr.

    With --json the one line on stdout says how it ended.
    """
    configure_logs(level=log_level)
    loaded = load_node_config(config)
    run_node(loaded)
    Terminal(as_json=as_json).show({"member": loaded.node.member, "ended": "stopped"}, list)


@app.command(epilog="Example: gridwitness-node status --url http://127.0.0.1:8080 --json")
def status(
    config: Config = _DEFAULT_CONFIG,
    url: Annotated[str | None, typer.Option(help="Address of the node's API; else from --config.")] = None,
    as_json: AsJson = False,
) -> None:
    """Show where a running node stands: height, age of its head, peers, pending transactions."""
    address = url or f"http://{load_node_config(config).api.listen}"
    value = NodeClient((address,)).get_json("/v1/status")
    if not isinstance(value, dict):
        raise DataError(f"{address} answers something that is no status")
    Terminal(as_json=as_json).show(value, lambda: _status_lines(value))


for command in (
    upkeep.fsck,
    upkeep.rebuild,
    upkeep.export,
    upkeep.backup,
    upkeep.restore,
    upkeep.prune,
    replaying.replay,
):
    app.command()(command)
app.command("broker-files")(broker_files.broker_files)
app.command("dry-run")(rehearsing.dry_run)
app.command("lock-report")(unlocking.lock_report)
app.command()(unlocking.unlock)


def _status_lines(value: dict[str, object]) -> list[str]:
    names = ("node", "chain", "health", "height", "head", "head_age_ms", "ledger_stale", "view", "leader", "broker")
    shown = {name: value.get(name) for name in names}
    shown["ledger_stale"] = "yes" if value.get("ledger_stale") else "no"
    mempool = value.get("mempool")
    if isinstance(mempool, dict):
        shown["mempool"] = f"{mempool.get('transactions')} transactions, {mempool.get('bytes')} bytes"
    lines = [f"{name:13} {text}" for name, text in shown.items()]
    missing = value.get("missing")
    if missing and isinstance(missing, list):
        lines.append(f"{'waits for':13} {value.get('waits_for')}; nothing of {', '.join(map(str, missing))}")
    past = value.get("past")
    if isinstance(past, dict) and past.get("snapshot") != "idle":
        lines.append(f"snapshot      {past.get('snapshot')}, {past.get('subtrees_missing')} of its parts are missing")
    if isinstance(past, dict) and past.get("blocks_from") != 1:
        known = f"headers and events from block {past.get('known_from')}"
        lines.append(f"past          {known}, transactions from block {past.get('blocks_from')}")
    peers = value.get("peers")
    if isinstance(peers, list):
        lines += [
            f"peer          {peer['member']} {'connected' if peer['connected'] else 'absent'} at {peer['height']}"
            for peer in peers
        ]
    return lines


def main() -> int:
    """Run the program and return its exit code."""
    return run(app, program=PROGRAM)
