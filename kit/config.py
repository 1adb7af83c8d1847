"""Configuration from TOML files, checked against a frozen dataclass before a program starts.

A schema is a dataclass; a field without default must be in the file; ``rule`` gives a field its
range, choices or unit::

    @dataclass(frozen=True, slots=True, kw_only=True)
    class Mqtt:
        host: str
        port: int = field(default=8883, metadata=rule(minimum=1, maximum=65535))
        ca: Path = field(metadata=rule(exists="file"))


    @dataclass(frozen=True, slots=True, kw_only=True)
    class AgentConfig:
        mqtt: Mqtt
        devices: tuple[Device, ...] = field(default=(), metadata=rule(key="device", unique="id"))


    config = load(path, AgentConfig, env_prefix="GRIDWITNESS_AGENT", folders=("devices.d",))

Field types: str, int, float, bool, Path, HostPort, another such dataclass, ``tuple[X, ...]``,
``Mapping[str, X]`` and ``X | None``. Everything wrong is reported at once, each with file and line.
A ValueError from a schema's ``__post_init__`` is reported at the line of its table.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal, TypeVar

from kit.config_check import META, Checker, EnvironmentText, HostPort, Rule
from kit.exitcodes import ConfigurationError
from kit.toml_source import Located, Origin, Problem, read_toml

if TYPE_CHECKING:
    import re
    from collections.abc import Mapping, Sequence

__all__ = ["ConfigProblemsError", "HostPort", "Origin", "Problem", "load", "origin", "rule"]

DROP_INS_MAX: Final = 4096
"""Files in one drop-in folder."""

SchemaT = TypeVar("SchemaT")


class ConfigProblemsError(ConfigurationError):
    """All that is wrong with a configuration, one line for each problem."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(sorted(problems, key=lambda x: (x.origin.name, x.origin.line)))
        lines = [str(problem) for problem in self.problems]
        if len(lines) > 1:
            lines = [f"{len(lines)} problems in the configuration:", *(f"  {x}" for x in lines)]
        super().__init__("\n".join(lines))


def rule(
    *,
    minimum: int | None = None,
    maximum: int | None = None,
    choices: Sequence[str] = (),
    pattern: re.Pattern[str] | None = None,
    unit: str = "",
    key: str | None = None,
    exists: Literal["file", "folder"] | None = None,
    unique: str | None = None,
) -> dict[str, Rule]:
    """Say what a field asks beyond its type, as the field's metadata.

    Args:
        minimum: Smallest number, or fewest characters of a text (1 if not told) or items of a list.
        maximum: Largest number, or most characters (4,096) or items (10,000).
        choices: The only texts allowed.
        pattern: What the whole text must match.
        unit: For the message only, such as "ms".
        key: The key in the file, where it differs from the field's name.
        exists: A path must name a file or folder that is there.
        unique: For a list of tables: this field differs in each.
    """
    return {
        META: Rule(
            minimum=minimum,
            maximum=maximum,
            choices=tuple(choices),
            pattern=pattern,
            unit=unit,
            key=key,
            exists=exists,
            unique=unique,
        )
    }


def origin() -> dict[str, Rule]:
    """Say that a field is no key of the file, as its metadata: it gets the `Origin` of its table."""
    return {META: Rule(is_origin=True)}


def load(
    path: Path,
    schema: type[SchemaT],
    *,
    env_prefix: str,
    folders: Sequence[str] = (),
    environ: Mapping[str, str] | None = None,
) -> SchemaT:
    """Read a configuration and check all of it.

    Order, later wins: the file; ``FILE.d/*.toml`` in name order; ``FOLDER/*.toml`` for each of
    ``folders`` beside the file; environment variables ``PREFIX__SECTION__KEY``. Tables are merged,
    arrays of tables are joined, anything else is replaced. Relative paths start at the file that
    holds them, and at the working directory for a variable.

    Args:
        path: The main file; it must exist.
        schema: A dataclass as described at the top of this module.
        env_prefix: Such as GRIDWITNESS_AGENT.
        folders: Names of folders beside the main file.
        environ: The environment; None takes that of the process.

    Raises:
        ConfigProblemsError: With every problem found; exit code 78.
    """
    root = Located({}, Origin(str(path), 1, path.parent))
    problems: list[Problem] = []
    for file in _files(path, folders, problems):
        part = read_toml(file)
        if isinstance(part, Problem):
            problems.append(part)
        else:
            root = _merge(root, part)
    if problems:  # a part is missing, so a check of the rest would report keys that are there
        raise ConfigProblemsError(problems)
    root = _with_environment(root, env_prefix, os.environ if environ is None else environ, problems)
    checker = Checker(problems)
    config = checker.table(root, schema, "")
    if problems or config is None:
        raise ConfigProblemsError(problems)
    return config


def _files(path: Path, folders: Sequence[str], problems: list[Problem]) -> list[Path]:
    files = [path]
    for folder in (path.parent / f"{path.name}.d", *(path.parent / name for name in folders)):
        if not folder.is_dir():
            continue
        found = sorted(x for x in folder.glob("*.toml") if not x.name.startswith("."))
        if len(found) > DROP_INS_MAX:
            origin = Origin(str(folder), 0, folder)
            problems.append(Problem(origin, f"holds more than {DROP_INS_MAX} files"))
            continue
        files += found
    return files


def _merge(old: Located, new: Located) -> Located:
    if isinstance(old.value, dict) and isinstance(new.value, dict):
        table = dict(old.value)
        for key, value in new.value.items():
            table[key] = _merge(table[key], value) if key in table else value
        return Located(table, old.origin if old.value else new.origin)
    if _holds_tables(old) and _holds_tables(new):
        assert isinstance(old.value, list)
        assert isinstance(new.value, list)
        return Located([*old.value, *new.value], old.origin)
    return new


def _holds_tables(node: Located) -> bool:
    return isinstance(node.value, list) and all(isinstance(x.value, dict) for x in node.value)


def _with_environment(root: Located, prefix: str, environ: Mapping[str, str], problems: list[Problem]) -> Located:
    start = f"{prefix}__"
    for name in sorted(environ):
        if not name.startswith(start):
            continue
        origin = Origin(f"environment variable {name}", 0, Path.cwd())
        node = Located(EnvironmentText(environ[name]), origin)
        steps = name.removeprefix(start).lower().split("__")
        if not all(steps):
            problems.append(Problem(origin, f"names no key; expected {start}SECTION__KEY"))
            continue
        for step in reversed(steps):
            node = Located({step: node}, origin)
        root = _merge(root, node)
    return root
