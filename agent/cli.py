"""The program `gridwitness-agent`: the light node on a substation's gateway."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
import uvloop

from agent.app import load_genesis, run_until_signal
from agent.config import AgentConfig, load_agent_config
from agent.drivers.table import DRIVERS
from agent.io.statefile import ANCHOR_FILE, read_status
from agent.model import DeviceConfig, DeviceFile, Reading
from agent.profile import Profile
from kit.clock import SystemClock
from kit.exitcodes import DataError, ExitCode, UsageError, exit_code_of, run
from kit.files import read_bounded, write_atomic
from kit.logs import configure_logs
from kit.terminal import Terminal
from wire.anchor import ANCHOR_BYTES_MAX, decode_anchor, verify_anchor
from wire.errors import WireError

PROGRAM = "gridwitness-agent"
_DEFAULT_CONFIG = Path("/etc/gridwitness/agent.toml")

app = typer.Typer(
    name=PROGRAM,
    help="The light node on a gateway: reads devices, signs what it read, and sends it to the full nodes.",
    epilog="Example: gridwitness-agent run --config /etc/gridwitness/agent.toml",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

trust_app = typer.Typer(no_args_is_help=True, help="What this gateway believes of the ledger.")
app.add_typer(trust_app, name="trust")

Config = Annotated[Path, typer.Option("--config", help="The agent's TOML file.", show_default=True)]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]


@app.command("run", epilog="Example: gridwitness-agent run --config /etc/gridwitness/agent.toml")
def run_command(config: Config = _DEFAULT_CONFIG) -> None:
    """Read the devices and report, until SIGTERM."""
    configure_logs()
    loaded = load_agent_config(config)
    uvloop.run(run_until_signal(loaded))


@app.command("read", epilog="Example: gridwitness-agent read lakeside-scd-1 --json")
def read_command(
    device: Annotated[str, typer.Argument(help="Id of a configured device.")],
    config: Config = _DEFAULT_CONFIG,
    as_json: AsJson = False,
) -> None:
    """Read one device once and show its identity and fingerprints; nothing is reported."""
    configure_logs(level="warning")
    loaded = load_agent_config(config)
    chosen = _device_of(loaded, device)
    terminal = Terminal(as_json=as_json)
    started_s = time.perf_counter()
    with terminal.progress(f"reading {device}"):
        reading, requests = uvloop.run(_read_once(chosen, loaded.profiles[chosen.profile]))
    value = _reading_value(reading, requests, round(1000 * (time.perf_counter() - started_s)))
    terminal.show(value, lambda: _reading_lines(value))


@trust_app.command("anchor", epilog="Example: gridwitness-agent trust anchor anchor.cbor")
def anchor_command(
    file: Annotated[Path, typer.Argument(help="Anchor that organisations signed with 'gridwitness anchor sign'.")],
    config: Config = _DEFAULT_CONFIG,
    as_json: AsJson = False,
) -> None:
    """Give the gateway an anchor after a long sleep; the running agent takes it within seconds.

    Exit code 65: too few organisations signed it, or it does not verify.
    """
    loaded = load_agent_config(config)
    try:
        raw = read_bounded(file, bytes_max=ANCHOR_BYTES_MAX)
        anchor = decode_anchor(raw)
        verify_anchor(anchor, load_genesis(loaded))
    except WireError as error:
        raise DataError(f"{file}: {error}") from error
    loaded.agent.state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    write_atomic(loaded.agent.state_dir / ANCHOR_FILE, raw)
    shown = {"height": anchor.final.header.height, "signed_by": [entry[0] for entry in anchor.signatures]}
    line = f"anchor at height {shown['height']}, signed by {', '.join(entry[0] for entry in anchor.signatures)}"
    Terminal(as_json=as_json).show(shown, lambda: [line])


@app.command("status", epilog="Example: gridwitness-agent status --json")
def status_command(config: Config = _DEFAULT_CONFIG, as_json: AsJson = False) -> int:
    """Show what the running agent knows: devices, outbox, broker, newest block.

    Exits 0 if all is well, 16 if the ledger is not known here as it is now, 65 if a device answers wrongly or the
    validators contradicted themselves, 69 if a device, the broker or the agent itself does not answer.
    """
    loaded = load_agent_config(config)
    value = read_status(loaded.agent.state_dir, SystemClock().now_ms())
    Terminal(as_json=as_json).show(value, lambda: _status_lines(value))
    return _status_code(value)


def main() -> int:
    """Run the program and return its exit code."""
    return run(app, program=PROGRAM)


def _device_of(config: AgentConfig, name: str) -> DeviceConfig:
    devices = {device.id: device for device in config.device_configs()}
    if name not in devices:
        raise UsageError(f"device {name!r} is not configured; there are: {', '.join(devices)}")
    return devices[name]


async def _read_once(device: DeviceConfig, profile: Profile) -> tuple[Reading, int]:
    driver = DRIVERS[device.protocol].open(device, profile, SystemClock())
    try:
        return await driver.read(), driver.counters.requests
    finally:
        await driver.close()


def _reading_value(reading: Reading, requests: int, duration_ms: int) -> dict[str, Any]:
    identity = reading.identity
    return {
        "device": reading.device,
        "identity": {
            "vendor": identity.vendor,
            "product": identity.product,
            "revision": identity.revision,
            "serial": identity.serial,
            "model": identity.model,
        },
        "artefacts": [_file_value(file) for file in reading.files],
        "read_from_ms": reading.read_from_ms,
        "read_to_ms": reading.read_to_ms,
        "duration_ms": duration_ms,
        "requests": requests,
    }


def _file_value(file: DeviceFile) -> dict[str, Any]:
    return {
        "kind": file.kind,
        "name": file.name,
        "version": file.version,
        "size": file.size,
        "read_size": file.digest.size,
        "sha256": file.digest.sha256.hex(),
        "chunk_root": file.digest.chunk_root.hex(),
        "method": file.method,
        "duration_ms": file.read_to_ms - file.read_from_ms,
        "errors": list(file.errors),
    }


def _reading_lines(value: Mapping[str, Any]) -> Sequence[str]:
    lines = [f"{value['device']}: read in {value['duration_ms']} ms with {value['requests']} requests"]
    lines += [f"  {name:<9} {text}" for name, text in value["identity"].items()]
    for part in value["artefacts"]:
        lines.append(f"  {part['kind']} {part['version']}: {part['read_size']} of {part['size']} bytes")
        lines.append(f"    sha256     {part['sha256']}")
        lines.append(f"    chunk root {part['chunk_root']}")
        errors = f", errors: {', '.join(part['errors'])}" if part["errors"] else ""
        lines.append(f"    method     {part['method']}, {part['duration_ms']} ms{errors}")
    return lines


def _status_lines(value: Mapping[str, Any]) -> Sequence[str]:
    outbox, broker, block = value["outbox"], value["broker"], value["block"]
    connection = "connected" if broker["is_connected"] else "not connected"
    age_ms = value["trust"]["head_age_ms"]
    age = "none yet" if age_ms is None else f"{age_ms // 1000} s old{', stale' if value['trust']['is_stale'] else ''}"
    clock = f"clock {value['clock_grade']} by {value['clock_source']}"
    lines = [
        f"gateway {value['gateway']} on {value['chain']}, boot {value['boot']}, {clock}",
        f"broker {broker['address']}: {connection}; {broker['sent']} sent, {broker['resent']} sent again",
        f"outbox: {outbox['items']} without receipt, {outbox['bytes']} bytes, oldest {outbox['oldest_age_ms']} ms",
        f"newest verified block: {block['height']}, newest header {age}",
    ]
    for device in value["devices"]:
        age = "never read"
        if device["last_read_ms"] is not None:
            age = f"read {max(0, value['time_ms'] - device['last_read_ms'])} ms ago"
        receipt = "has a receipt" if device["has_receipt"] else "no receipt yet"
        error = f"; {device['last_error']}" if device["last_error"] else ""
        lines.append(f"  {device['device']}: {device['status']}, {age}, {receipt}{error}")
    lines += [f"warning: {warning}" for warning in value["warnings"]]
    return lines


def _status_code(value: Mapping[str, Any]) -> int:
    statuses = {device["status"] for device in value["devices"]}
    if "protocol-error" in statuses or value["trust"]["conflicts"]:
        return int(ExitCode.DATA)
    if "unreachable" in statuses or not value["broker"]["is_connected"]:
        return int(ExitCode.UNREACHABLE)
    if value["trust"]["is_stale"] or value["trust"]["is_expired"]:
        return exit_code_of(("stale",))
    return int(ExitCode.OK)
