"""The program ``gridwitness``: what people do with the ledger."""

from __future__ import annotations

from typing import Final

import typer

from client.commands import (
    access,
    alarm_actions,
    alarms,
    anchor,
    bundles,
    compliance,
    demo,
    gaps,
    keys,
    ledger,
    members,
    models,
    orders,
    proposals,
    quarantine,
    records,
    refs,
    sealed,
    state,
    tx,
    validators,
)
from client.commands import verify as proofs
from client.commands.status import status
from kit.exitcodes import run
from kit.version import offer_version

PROGRAM: Final = "gridwitness"

app = typer.Typer(
    help="Prove that grid control devices run exactly the software, strategy and settings that were tested.",
    epilog="Example: gridwitness alarms watch --node http://localhost:8080",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
)
offer_version(app, PROGRAM)
app.add_typer(keys.app, name="keys")
app.add_typer(refs.app, name="refs")
app.add_typer(members.app, name="members")
app.add_typer(access.app, name="access")
app.add_typer(sealed.app, name="sealed")
app.add_typer(records.app, name="records")
for answer in alarm_actions.COMMANDS:
    alarms.app.command(answer.__name__.replace("_", "-"))(answer)
app.add_typer(alarms.app, name="alarms")
app.add_typer(alarms.devices_app, name="devices")
app.add_typer(compliance.app, name="compliance")
app.add_typer(models.app, name="models")
app.add_typer(orders.app, name="orders")
app.add_typer(proposals.app, name="proposals")
app.add_typer(proposals.parameters_app, name="parameters")
app.add_typer(proposals.corrections_app, name="corrections")
app.add_typer(gaps.app, name="gaps")
app.add_typer(tx.app, name="tx")
app.add_typer(bundles.app, name="bundles")
app.add_typer(state.app, name="state")
app.add_typer(ledger.app, name="ledger")
app.add_typer(quarantine.app, name="quarantine")
app.add_typer(validators.app, name="validators")
app.add_typer(anchor.app, name="anchor")
app.add_typer(proofs.app, name="genesis")
app.command()(status)
app.command()(proofs.verify)
app.command()(demo.demo)


def main() -> int:
    """Run the program and return its exit code."""
    return run(app, program=PROGRAM)


if __name__ == "__main__":
    raise SystemExit(main())
