"""The program `gridwitness-agent`: the light node on a substation's gateway."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, Final

import typer
import uvloop

from agent.against import against_lines, against_value, expected_by, expected_here, verdicts
from agent.app import load_genesis, run_until_signal
from agent.config import PROFILE_FOLDER, AgentConfig, load_agent_config
from agent.drivers.table import DRIVERS, load_profiles, profile_schemas
from agent.io.saving import save
from agent.io.statefile import ANCHOR_FILE, read_status
from agent.model import DeviceConfig, DeviceFile, Reading
from agent.options import DEFAULT_CONFIG, AsJson, Config
from agent.package_commands import package_app
from agent.planned import read_within
from agent.profile import Profile, profile_path, read_profile
from kit.clock import SystemClock
from kit.exitcodes import DataError, ExitCode, UsageError, exit_code_of, run
from kit.files import read_bounded, write_atomic
from kit.logs import configure_logs
from kit.terminal import Terminal
from kit.version import offer_version
from wire.anchor import ANCHOR_BYTES_MAX, decode_anchor, verify_anchor
from wire.errors import WireError
from wire.evidence import KINDS

PROGRAM = "gridwitness-agent"
_KEPT_MS_MIN: Final = 60_000
"""A file that was read so long before the device's last read is told apart."""
_WAITING_MS_MAX: Final = 60_000
"""Blocks come at once where something waits: a report that waits longer is not on its way."""
_REFUSED: Final = "refused-"
"""Begins the counters of what came down that are about refused reports."""

app = typer.Typer(
    name=PROGRAM,
    help="The light node on a gateway: reads devices, signs what it read, and sends it to the full nodes.",
    epilog="Example: gridwitness-agent run --config /etc/gridwitness/agent.toml",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

profile_app = typer.Typer(no_args_is_help=True, help="Device profiles: what a model keeps where.")
app.add_typer(profile_app, name="profile")

app.add_typer(package_app, name="package")

trust_app = typer.Typer(no_args_is_help=True, help="What this gateway believes of the ledger.")
app.add_typer(trust_app, name="trust")


offer_version(app, PROGRAM)


@app.command("run", epilog="Example: gridwitness-agent run --config /etc/gridwitness/agent.toml")
def run_command(config: Config = DEFAULT_CONFIG, *, as_json: AsJson = False) -> None:
    """Read the devices and report, until SIGTERM or Ctrl-C; logs go to stderr.

    With --json the one line on stdout says how it ended.
    """
    configure_logs()
    loaded = load_agent_config(config)
    uvloop.run(run_until_signal(loaded))
    Terminal(as_json=as_json).show({"gateway": loaded.agent.gateway, "ended": "stopped"}, list)


@app.command("read", epilog="Example: gridwitness-agent read lakeside-scd-1 --json")
def read_command(
    device: Annotated[str, typer.Argument(help="Id of a configured device.")],
    config: Config = DEFAULT_CONFIG,
    against: Annotated[
        Path | None,
        typer.Option("--against", metavar="PATH", help="Release package or release folder to compare with."),
    ] = None,
    keep: Annotated[
        Path | None,
        typer.Option("--save", metavar="FOLDER", help="Write setting list and strategy table there, as KIND.content."),
    ] = None,
    as_json: AsJson = False,
) -> int:
    """Read one device once and show its identity and fingerprints; nothing is reported.

    What differs from the gateway's release packages is named with its values. With --against the exit code tells it,
    too: 4 differs, 2 missing. --save is for the bench: where settings are registers or objects and no file, a release
    is made of the content that was read from a device set as it should be.
    """
    configure_logs(level="warning")
    loaded = load_agent_config(config)
    chosen = _device_of(loaded, device)
    told = None if against is None else expected_by(against)
    terminal = Terminal(as_json=as_json)
    started_s = time.perf_counter()
    with terminal.progress(f"reading {device}"):
        reading, asked = uvloop.run(_read_once(chosen, loaded.profiles[chosen.profile]))
    duration_ms = round(1000 * (time.perf_counter() - started_s))
    expected = expected_here(loaded.agent.state_dir, reading) if told is None else told
    value = {**_reading_value(reading), "duration_ms": duration_ms, **asked, "profile": chosen.profile}
    value["against"] = against_value(reading, expected)
    value["saved"] = saved = [] if keep is None else [str(path) for path in save(reading, keep)]
    kept = [f"  saved as {path}" for path in saved]
    terminal.show(value, lambda: [*_reading_lines(value), *against_lines(reading, expected), *kept])
    return 0 if told is None else exit_code_of(verdicts(reading, told))


@profile_app.command("check", epilog="Example: gridwitness-agent profile check profiles/our-relay.toml")
def profile_check_command(
    file: Annotated[Path, typer.Argument(help="TOML file of a profile.")],
    as_json: AsJson = False,
) -> None:
    """Check a device profile and show what is obtained by it, and how sure that is.

    Exit code 78: something is wrong in the file; every problem is told with its line.
    """
    profile = read_profile(file, profile_schemas())
    value = _profile_value(profile)
    Terminal(as_json=as_json).show(value, lambda: _profile_lines(profile))


@profile_app.command("list", epilog="Example: gridwitness-agent profile list")
def profile_list_command(config: Config = DEFAULT_CONFIG, as_json: AsJson = False) -> None:
    """List the profiles that come with the program and those beside the configuration, which win by name."""
    profiles = load_profiles(config.parent / PROFILE_FOLDER)
    found = [profiles[name] for name in sorted(profiles)]
    value = {"profiles": [_profile_value(profile) for profile in found]}
    Terminal(as_json=as_json).show(value, lambda: [f"{x.name}  {x.protocol}  {x.about}" for x in found])


@profile_app.command("show", epilog="Example: gridwitness-agent profile show folder > profiles/our-recorder.toml")
def profile_show_command(
    name: Annotated[str, typer.Argument(help="Name of a profile, as 'profile list' shows it.")],
    config: Config = DEFAULT_CONFIG,
    as_json: AsJson = False,
) -> None:
    """Print the file of a profile: copy one that comes with the program into profiles/ and change it there."""
    own = config.parent / PROFILE_FOLDER
    known = load_profiles(own)
    if name not in known:
        raise UsageError(f"there is no profile {name!r}; there are: {', '.join(sorted(known))}")
    path = profile_path(name, own)
    text = path.read_text(encoding="utf-8")
    Terminal(as_json=as_json).show({"name": name, "file": str(path), "text": text}, text.splitlines)


@trust_app.command("anchor", epilog="Example: gridwitness-agent trust anchor anchor.cbor")
def anchor_command(
    file: Annotated[Path, typer.Argument(help="Anchor that organisations signed with 'gridwitness anchor sign'.")],
    config: Config = DEFAULT_CONFIG,
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
def status_command(config: Config = DEFAULT_CONFIG, as_json: AsJson = False) -> int:
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


async def _read_once(device: DeviceConfig, profile: Profile) -> tuple[Reading, dict[str, int]]:
    driver = DRIVERS[device.protocol].open(device, profile, SystemClock())
    try:
        reading = await read_within(driver, device)
        counters = driver.counters
        asked = {name: getattr(counters, name) for name in ("requests", "bytes_read", "busy", "connections")}
        return reading, asked
    finally:
        await driver.close()


def _profile_value(profile: Profile) -> dict[str, Any]:
    return {
        "name": profile.name,
        "protocol": profile.protocol,
        "about": profile.about,
        "methods": dict(sorted(profile.specifics.methods().items())),
        "pacing": asdict(profile.pacing),
        "quiet_hours": list(profile.quiet.hours),
        "counts_changes": profile.specifics.counts_changes(),
        "intervals_s": {kind: seconds for kind in KINDS if (seconds := profile.read.interval_ms(kind) // 1000)},
    }


def _profile_lines(profile: Profile) -> Sequence[str]:
    lines = [f"{profile.name}: {profile.protocol}, {profile.about}"]
    for kind, method in sorted(profile.specifics.methods().items()):
        seconds = profile.read.interval_ms(kind) // 1000
        lines.append(f"  {kind:<9} {method}, {f'at most every {seconds} s' if seconds else 'at every poll'}")
    counts = profile.specifics.counts_changes()
    seen = "shows" if counts else "none: nothing shows"
    lines.append(f"  counter   {seen} a change and change back between two polls")
    pacing = profile.pacing
    lines.append(
        f"  pacing    {pacing.pause_ms} ms before a request; while busy, {pacing.busy_repeats} repeats "
        f"from {pacing.busy_pause_ms} ms on; {pacing.connections} at a time"
    )
    lines += [f"  quiet     {hours} UTC" for hours in profile.quiet.hours]
    return lines


def _reading_value(reading: Reading) -> dict[str, Any]:
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
        "revision": reading.revision,
        "artefacts": [_file_value(file) for file in reading.files],
        "read_from_ms": reading.read_from_ms,
        "read_to_ms": reading.read_to_ms,
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
        "word": None if file.word is None else file.word.hex(),
        "duration_ms": file.read_to_ms - file.read_from_ms,
        "errors": list(file.errors),
    }


def _reading_lines(value: Mapping[str, Any]) -> Sequence[str]:
    lines = [f"{value['device']}: read in {value['duration_ms']} ms with {value['requests']} requests"]
    lines += [f"  {name:<9} {text}" for name, text in value["identity"].items()]
    lines += [] if value["revision"] is None else [f"  counter   {value['revision']} changes"]
    for part in value["artefacts"]:
        said = f"{part['read_size']} of {part['size']} bytes" if part["word"] is None else f"it says {part['word']}"
        lines.append(f"  {' '.join(filter(None, (part['kind'], part['version'])))}: {said}")
        lines.append(f"    sha256     {part['sha256']}")
        lines.append(f"    chunk root {part['chunk_root']}")
        errors = f", errors: {', '.join(part['errors'])}" if part["errors"] else ""
        lines.append(f"    method     {part['method']}, {part['duration_ms']} ms{errors}")
    return lines


def _status_lines(value: Mapping[str, Any]) -> Sequence[str]:
    outbox, broker, block = value["outbox"], value["broker"], value["block"]
    why = f" ({broker['last_error']})" if broker["last_error"] else ""
    connection = "connected" if broker["is_connected"] else f"not connected{why}"
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
            kept_ms = device["last_read_ms"] - device.get("oldest_read_ms", device["last_read_ms"])
            age += f", the oldest file {kept_ms // 1000} s before" if kept_ms > _KEPT_MS_MIN else ""
        receipt = "has a receipt" if device["has_receipt"] else "no receipt yet"
        error = f"; {device['last_error']}" if device["last_error"] else ""
        lines.append(f"  {device['device']}: {device['status']}, {age}, {receipt}{error}")
        lines += [f"    {difference}" for difference in device.get("differences", ())]
    lines += [f"warning: {warning}" for warning in (*value["warnings"], *_silences(value))]
    return lines


def _silences(value: Mapping[str, Any]) -> Iterator[str]:
    """Yield what it may mean that nothing comes back though the broker is there, or what came back instead."""
    refused = {code.removeprefix(_REFUSED): count for code, count in value["down"].items() if code.startswith(_REFUSED)}
    if refused:
        counted = ", ".join(f"{code} {count} times" for code, count in sorted(refused.items()))
        yield f"since its start the ledger refused reports: {counted}; the log names the devices (report_refused)"
    if not value["broker"]["is_connected"]:
        return
    waits = value["outbox"]["oldest_age_ms"] > _WAITING_MS_MAX
    if value["trust"]["is_stale"] or (waits and value["trust"]["head_age_ms"] is None):
        yield (
            "the broker is connected and no block arrives: the ledger stands still, or the broker's access list does "
            f"not have gateway {value['gateway']} yet (gridwitness-node broker-files)"
        )
    elif waits:
        yield (
            "blocks arrive and receipts do not: the ledger has another key for this gateway or none (gridwitness "
            "members show OWNER), or full nodes refuse its reports: their logs name sender, key and reason"
        )


def _status_code(value: Mapping[str, Any]) -> int:
    statuses = {device["status"] for device in value["devices"]}
    if "protocol-error" in statuses or value["trust"]["conflicts"]:
        return int(ExitCode.DATA)
    if "unreachable" in statuses or not value["broker"]["is_connected"]:
        return int(ExitCode.UNREACHABLE)
    if value["trust"]["is_stale"] or value["trust"]["is_expired"]:
        return exit_code_of(("stale",))
    return int(ExitCode.OK)
