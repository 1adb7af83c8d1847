"""Device profiles: what one model of device keeps where, and how it wants to be read.

A profile is one TOML file; its name is the file's without ``.toml``. Every protocol shares the head; what only one
protocol's driver understands is in one table named as the protocol. Files that come with the program are in
``agent/profiles``; those of a gateway, in ``profiles`` beside agent.toml, add to them and win where names are equal.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Protocol, cast

from kit.config import ConfigProblemsError, Problem, rule
from kit.config_check import Checker
from kit.toml_source import Located, Origin, read_toml
from wire.types import IDENTIFIER_PATTERN

PACKAGED: Final = Path(__file__).parent / "profiles"
PROFILES_MAX: Final = 1000
"""Files in one folder."""
HOURS_PATTERN: Final = re.compile(r"([01][0-9]|2[0-3]):[0-5][0-9]-([01][0-9]|2[0-3]):[0-5][0-9]")
_MINUTE_MS: Final = 60_000
_DAY_MINUTES: Final = 24 * 60
_DAY_S: Final = 86_400


class Specifics(Protocol):
    """What a protocol's own table says: a frozen `kit.config` schema of its driver."""

    def methods(self) -> Mapping[str, str]:
        """Return by artefact kind the method (`wire.evidence.METHODS`) in which it is obtained at best."""

    def counts_changes(self) -> bool:
        """Tell whether a counter of the device is read that shows a change and change back between two polls."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pacing:
    """``[pacing]``: how hard this model may be asked."""

    pause_ms: int = field(default=0, metadata=rule(minimum=0, maximum=60_000, unit="ms"))
    """Pause before each request; a device's own ``pacing_ms`` wins."""
    connect_pause_ms: int = field(default=0, metadata=rule(minimum=0, maximum=600_000, unit="ms"))
    """Shortest time from the end of one connection to the next."""
    busy_repeats: int = field(default=8, metadata=rule(minimum=0, maximum=100))
    """How often a request is repeated while the device says that it is busy."""
    busy_pause_ms: int = field(default=20, metadata=rule(minimum=1, maximum=60_000, unit="ms"))
    """Pause before the first such repeat; each further one is twice as long, up to a minute."""
    connections: int = field(default=1, metadata=rule(minimum=1, maximum=16))
    """Connections that the device bears at the same time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Quiet:
    """``[quiet]``: hours of the day (UTC) in which nothing is read."""

    hours: tuple[str, ...] = field(default=(), metadata=rule(pattern=HOURS_PATTERN, maximum=24))
    """Such as ``22:30-01:00``: from the first minute up to, not including, the second; over midnight is allowed."""

    def __post_init__(self) -> None:
        """Refuse hours that are empty, or that leave no time to read.

        Raises:
            ValueError: One of them begins when it ends, or together they cover the day.
        """
        for text, (begin, end) in zip(self.hours, self._spans(), strict=True):
            if begin == end:
                raise ValueError(f"hours: {text} begins when it ends")
        if self.hours and all(self.left_ms(minute * _MINUTE_MS) for minute in range(_DAY_MINUTES)):
            raise ValueError("hours: they cover the whole day, so that nothing would ever be read")

    def left_ms(self, time_ms: int) -> int:
        """Return how long it stays quiet from now on, 0 when it is not.

        Args:
            time_ms: Milliseconds since 1970 UTC.
        """
        minute, within_ms = divmod(time_ms, _MINUTE_MS)
        minute %= _DAY_MINUTES
        left = 0
        for begin, end in self._spans():
            if (minute - begin) % _DAY_MINUTES < (end - begin) % _DAY_MINUTES:
                left = max(left, (end - minute) % _DAY_MINUTES)
        return left * _MINUTE_MS - within_ms if left else 0

    def _spans(self) -> tuple[tuple[int, int], ...]:
        return tuple((_minute(text[:5]), _minute(text[6:])) for text in self.hours)


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadPlan:
    """``[read]``: how often artefacts of a kind are read, where the device's own interval is too often."""

    firmware_s: int | None = field(default=None, metadata=rule(minimum=1, maximum=_DAY_S, unit="s"))
    settings_s: int | None = field(default=None, metadata=rule(minimum=1, maximum=_DAY_S, unit="s"))
    strategy_s: int | None = field(default=None, metadata=rule(minimum=1, maximum=_DAY_S, unit="s"))

    def is_any(self) -> bool:
        """Tell whether some kind has an interval of its own."""
        return any(value is not None for value in (self.firmware_s, self.settings_s, self.strategy_s))

    def interval_ms(self, kind: str) -> int:
        """Return the shortest time between two reads of a kind, 0 for every poll."""
        seconds: int | None = getattr(self, f"{kind}_s")
        return 0 if seconds is None else 1000 * seconds


@dataclass(frozen=True, slots=True)
class Profile:
    """One model of device, as its file describes it."""

    name: str
    protocol: str
    """A key of `agent.drivers.table.DRIVERS`."""
    about: str
    """Which devices this is for."""
    pacing: Pacing
    quiet: Quiet
    read: ReadPlan
    specifics: Specifics
    """The protocol's own table."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Head:
    """What a profile of any protocol has."""

    protocol: str
    about: str = field(metadata=rule(maximum=200))
    pacing: Pacing = field(default=Pacing())
    quiet: Quiet = field(default=Quiet())
    read: ReadPlan = field(default=ReadPlan())


def read_profile(path: Path, schemas: Mapping[str, type]) -> Profile:
    """Read one profile and check all of it.

    Args:
        path: The file; its name without ``.toml`` is the profile's.
        schemas: By protocol the schema of its own table.

    Raises:
        ConfigProblemsError: With every problem found; exit code 78.
    """
    name = path.stem
    if path.suffix != ".toml" or IDENTIFIER_PATTERN.fullmatch(name) is None:
        what = f"a profile's file is named like {IDENTIFIER_PATTERN.pattern} with .toml behind it"
        raise ConfigProblemsError([Problem(Origin(str(path), 0, path.parent), what)])
    root = read_toml(path)
    if isinstance(root, Problem):
        raise ConfigProblemsError([root])
    problems: list[Problem] = []
    protocol = _protocol_of(root, schemas)
    if protocol is None and isinstance(root.value, dict):  # whose table it is, decides how it is judged
        root = Located({key: node for key, node in root.value.items() if key not in schemas}, root.origin)
    found = Checker(problems).table(root, _schema(protocol, schemas), "")
    if problems or found is None:
        raise ConfigProblemsError(problems)
    specifics = cast("Specifics", getattr(found, found.protocol))
    return Profile(name, found.protocol, found.about, found.pacing, found.quiet, found.read, specifics)


def read_profiles(folder: Path | None, schemas: Mapping[str, type]) -> dict[str, Profile]:
    """Read the packaged profiles and those of ``folder``, if there is one.

    Raises:
        ConfigProblemsError: With every problem of every file; exit code 78.
    """
    problems: list[Problem] = []
    profiles: dict[str, Profile] = {}
    for place in (PACKAGED, folder):
        if place is None or not place.is_dir():
            continue
        paths = sorted(path for path in place.glob("*.toml") if not path.name.startswith("."))
        if len(paths) > PROFILES_MAX:
            problems.append(Problem(Origin(str(place), 0, place), f"holds more than {PROFILES_MAX} profiles"))
            continue
        for path in paths:
            try:
                profiles[path.stem] = read_profile(path, schemas)
            except ConfigProblemsError as error:
                problems += error.problems
    if problems:
        raise ConfigProblemsError(problems)
    return profiles


def profile_path(name: str, folder: Path) -> Path:
    """Return the file of a profile that `read_profiles` found: that of ``folder`` goes before the packaged one."""
    own = folder / f"{name}.toml"
    return own if own.is_file() else PACKAGED / own.name


def _protocol_of(root: Located, schemas: Mapping[str, type]) -> str | None:
    """Return the protocol that the file names, if there is such a one."""
    node = root.value.get("protocol") if isinstance(root.value, dict) else None
    value = node.value if isinstance(node, Located) else None
    return value if isinstance(value, str) and value in schemas else None


def _schema(protocol: str | None, schemas: Mapping[str, type]) -> type[_Head]:
    """Return the schema of a whole file: the head, with the choices of today, and the protocol's table."""
    fields: list[Any] = [("protocol", str, field(metadata=rule(choices=tuple(sorted(schemas)))))]
    if protocol is not None:
        fields.append((protocol, schemas[protocol], field()))
    made = dataclasses.make_dataclass("ProfileFile", fields, bases=(_Head,), frozen=True, slots=True, kw_only=True)
    return cast("type[_Head]", made)


def _minute(text: str) -> int:
    return int(text[:2]) * 60 + int(text[3:])
