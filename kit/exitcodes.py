"""How every program ends: the published exit codes, the error tree behind them, and ``run``.

Findings are below 32 and are OR-ed; faults begin at 64. The two ranges cannot collide.
The command-line library's own 1 and 2 never show, because ``run`` switches its exit handling off.
"""

from __future__ import annotations

import contextlib
import enum
import json
import os
import re
import sys
import traceback
from typing import TYPE_CHECKING, Any

import typer
from typer.exceptions import TyperException

from wire.errors import WireError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

DEBUG_VARIABLE = "GRIDWITNESS_DEBUG"
INTERRUPTED = 130  # 128 + SIGINT, as shells report it
_OWN_PACKAGES = frozenset({"agent", "client", "firmware_sim", "kit", "master", "rules", "wire"})
_WORD_SHOWN = 256
_ENDLESS = re.compile(r"\S{1024,}")
"""A word that no person reads: of what was given, as much is told as shows what it is."""
_EXAMPLE = "Example: "
OUTPUT_CLOSED = 141  # 128 + SIGPIPE: the reader of our output went away


_MISREAD = (AttributeError, LookupError, TypeError, ValueError, OverflowError)
"""What comes of a value of another kind than a program expects."""


class Answers:
    """What a program looked up last in an answer of others, to say where one of another kind stood."""

    what = ""
    """Which answer, "" before the first."""
    field = ""

    @classmethod
    def read(cls, what: str, field: object) -> None:
        """Note that a field is read."""
        cls.what, cls.field = what, str(field)


class ExitCode(enum.IntEnum):
    """The codes above the findings. Source: DESIGN section 8."""

    OK = 0
    USAGE = 64
    DATA = 65
    UNREACHABLE = 69
    IO = 74
    TRY_AGAIN = 75
    PERMISSION = 77
    CONFIGURATION = 78


class Finding(enum.IntFlag):
    """What was found on devices; OR-ed into one exit code of at most 31."""

    NONE = 0
    NO_SLOT = 1
    MISSING = 2
    CHANGED = 4
    UNKNOWN_REFERENCE = 8
    STALE = 16


FINDINGS: dict[str, Finding] = {
    "match": Finding.NONE,
    "pending": Finding.NONE,
    "no_slot": Finding.NO_SLOT,
    "missing": Finding.MISSING,
    "mismatch": Finding.CHANGED,
    "misfilled": Finding.CHANGED,
    "superseded": Finding.CHANGED,
    "revoked": Finding.CHANGED,
    "incomplete": Finding.CHANGED,
    "altered_between_polls": Finding.CHANGED,
    "identity_changed": Finding.CHANGED,
    "evidence_conflict": Finding.CHANGED,
    "unknown_reference": Finding.UNKNOWN_REFERENCE,
    "stale": Finding.STALE,
    "clock_untrusted": Finding.STALE,
}


def exit_code_of(verdicts: Iterable[str]) -> int:
    """Fold verdict names into one exit code.

    Args:
        verdicts: Names from DESIGN section 7, in any order, repeats allowed. "unreachable" counts
            only if nothing else was found.

    Returns:
        0..31, or 69.

    Raises:
        DataError: A name that this version does not know.
    """
    found = Finding.NONE
    unreachable = False
    for verdict in verdicts:
        if verdict == "unreachable":
            unreachable = True
        elif verdict in FINDINGS:
            found |= FINDINGS[verdict]
        else:
            message = f"the verdict {verdict!r} is unknown to this version; update this program"
            raise DataError(message)
    if found is Finding.NONE and unreachable:
        return int(ExitCode.UNREACHABLE)
    return int(found)


class GridwitnessError(Exception):
    """An error that a person can act on.

    ``str(error)`` is one sentence: what happened, where, and what to do.
    """

    exit_code: ExitCode = ExitCode.IO


class UsageError(GridwitnessError):
    """The command line asks for something that does not exist."""

    exit_code = ExitCode.USAGE


class DataError(GridwitnessError):
    """Bytes, a signature or an answer are not what they should be."""

    exit_code = ExitCode.DATA


class UnreachableError(GridwitnessError):
    """A device, broker or node does not answer."""

    exit_code = ExitCode.UNREACHABLE


class StorageError(GridwitnessError):
    """A file or database cannot be read or written."""

    exit_code = ExitCode.IO


class DiskFullError(StorageError):
    """There is no room for what was to be written; nothing was, and there may be room again later."""


class TryAgainError(GridwitnessError):
    """Nothing is wrong but the moment."""

    exit_code = ExitCode.TRY_AGAIN


class PermissionDeniedError(GridwitnessError):
    """A file mode, an account or a key does not allow it."""

    exit_code = ExitCode.PERMISSION


class ConfigurationError(GridwitnessError):
    """A configuration file or variable is wrong."""

    exit_code = ExitCode.CONFIGURATION


def describe(error: BaseException) -> tuple[str, int]:
    """Give the sentence and the exit code for an error.

    An exception that nobody foresaw gives 74: the program could not do its work. It is not 65,
    since a script that sets bad data aside must not do so because of our own defect. One that a value of another kind
    leads to, once an answer of others was read, gives 65 and names the field that was looked up last.
    """
    if isinstance(error, GridwitnessError):
        return str(error), int(error.exit_code)
    if isinstance(error, WireError):
        return str(error), int(ExitCode.DATA)
    if isinstance(error, TyperException):
        return _usage_sentence(error), int(ExitCode.USAGE)
    if isinstance(error, typer.Abort):
        return "stopped because a question was not answered", INTERRUPTED
    if isinstance(error, OSError):
        return _describe_os_error(error)
    return _describe_unforeseen(error)


def _describe_unforeseen(error: BaseException) -> tuple[str, int]:
    hint = f"set {DEBUG_VARIABLE}=1 to see where, and report it"
    if Answers.what and isinstance(error, _MISREAD):
        what = f"{Answers.what} holds something that this program does not understand (field {Answers.field!r})"
        return f"{what}; ask another one, and if that answers alike, {hint}", int(ExitCode.DATA)
    return f"unexpected {type(error).__name__}: {error}; {hint}", int(ExitCode.IO)


def run(app: typer.Typer, *, program: str, args: Sequence[str] | None = None) -> int:
    """Run a command-line program and return its exit code; nothing is raised.

    A command may return an int (findings); None counts as 0. With ``--json`` among the arguments an
    error is one JSON object on stdout, else one line on stderr.

    Args:
        app: The commands.
        program: The name that usage lines show.
        args: Without the program name; None takes those of the process.
    """
    argv = list(sys.argv[1:] if args is None else args)
    _open_outputs()
    Answers.read("", "")
    try:
        _check_text(argv)
        result = command_of(app).main(args=argv, prog_name=program, standalone_mode=False)
        sys.stdout.flush()
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        _forget_output()
        return OUTPUT_CLOSED
    except SystemExit as stop:
        if isinstance(stop.__context__, BrokenPipeError):  # typer turns it into its own 1
            _forget_output()
            return OUTPUT_CLOSED
        return _code_of_stop(stop)
    except Exception as error:  # noqa: BLE001 the outermost frame: whatever it is, it becomes a sentence and a code
        return _report(error, program=program, as_json=_wants_json(argv))
    return result if isinstance(result, int) else int(ExitCode.OK)


def command_of(app: typer.Typer) -> Any:  # noqa: ANN401 the library keeps the class of commands to itself
    """Return the tree of commands as ``run`` runs it: every one of them has an example in its help."""
    command = typer.main.get_command(app)
    _lend_examples(command)
    return command


def _lend_examples(command: Any) -> str:  # noqa: ANN401 the library keeps the class of commands to itself
    """Give each group of commands that shows no example that of its first command; return the command's own."""
    found = [_lend_examples(each) for each in getattr(command, "commands", {}).values()]
    own = next((text for text in (command.epilog, command.help) if text and _EXAMPLE in text), "")
    if own or not found:
        return str(own)[own.find(_EXAMPLE) :] if own else ""
    command.epilog = next(filter(None, found), None)
    return command.epilog or ""


def _check_text(argv: Sequence[str]) -> None:
    """Refuse arguments that are not UTF-8: they could be neither sent nor shown.

    Raises:
        UsageError: With the place of the first one.
    """
    for place, argument in enumerate(argv, start=1):
        if not argument.isascii() and any("\ud800" <= letter <= "\udfff" for letter in argument):
            shown = argument.encode("utf-8", "backslashreplace").decode()
            raise UsageError(f"argument {place}, {shown}, is not UTF-8; give names and texts in UTF-8")


def report_missing_package(error: ModuleNotFoundError, *, program: str, extra: str) -> int:
    """Say that a program was installed without the packages that only it needs; return the exit code.

    Args:
        error: From importing the program.
        program: Its name.
        extra: The name in setup.cfg under which those packages are.

    Raises:
        ModuleNotFoundError: It is a module of our own, whose absence is a defect.
    """
    missing = (error.name or "").partition(".")[0]
    if not missing or missing in _OWN_PACKAGES:
        raise error
    _say(
        f"{program}: the package {missing} is not installed beside it; "
        f"in the checkout of gridwitness run: {sys.executable} -m pip install '.[{extra}]'\n"
    )
    return int(ExitCode.CONFIGURATION)


def _report(error: Exception, *, program: str, as_json: bool) -> int:
    sentence, code = describe(error)
    sentence = _ENDLESS.sub(lambda found: f"{found[0][:_WORD_SHOWN]}...", sentence)
    shown = str(getattr(error, "message", "")).rstrip() if _is_help(error) and not as_json else ""
    if shown:
        _say(f"{shown}\n\n")
    if os.environ.get(DEBUG_VARIABLE):
        traceback.print_exception(error, file=sys.stderr)
    try:
        if as_json:
            sys.stdout.write(json.dumps({"error": sentence, "exit_code": code}, ensure_ascii=False) + "\n")
        sys.stdout.flush()
    except BrokenPipeError:
        _forget_output()
        return OUTPUT_CLOSED
    except OSError as full:
        _forget_output()
        told = str(full.strerror)
        sentence = sentence if told in sentence else f"{sentence} (stdout: {told})"
        code, as_json = int(ExitCode.IO), False
    if not as_json:
        _say(f"{program}: {sentence}\n")
    return code


def _say(text: str) -> None:
    """Write to stderr; where nobody can read that, the exit code has to do."""
    with contextlib.suppress(OSError):
        sys.stderr.write(text)
        sys.stderr.flush()


def _wants_json(argv: Sequence[str]) -> bool:
    options = argv[: argv.index("--")] if "--" in argv else argv
    return "--json" in options


def _is_help(error: Exception) -> bool:
    """Say whether it is what the library raises for a group without a command: its message is the group's help."""
    return type(error).__name__ == "NoArgsIsHelpError"


def _usage_sentence(error: TyperException) -> str:
    sentence = "A command is missing" if _is_help(error) else error.format_message().strip() or "A command is missing"
    if sentence[-1] not in ".?!":
        sentence += "."
    context = getattr(error, "ctx", None)
    return sentence if context is None else f"{sentence} See '{context.command_path} --help'"


def _describe_os_error(error: OSError) -> tuple[str, int]:
    sentence = error.strerror or str(error) or type(error).__name__
    if error.filename is not None:
        sentence = f"{error.filename}: {sentence}"
    if isinstance(error, PermissionError):
        return f"{sentence}; run as the owner or change the mode", int(ExitCode.PERMISSION)
    if isinstance(error, ConnectionError | TimeoutError):
        hint = "check that the other side runs and can be reached"
        return f"{sentence}; {hint}", int(ExitCode.UNREACHABLE)
    return sentence, int(ExitCode.IO)


def _code_of_stop(stop: SystemExit) -> int:
    if stop.code is None:
        return int(ExitCode.OK)
    return stop.code if isinstance(stop.code, int) else int(ExitCode.IO)


def _open_outputs() -> None:
    """Let what is said go nowhere where the caller closed stdout or stderr: the exit code is the answer then.

    Else the library's own 1 would show, and a file or socket that is opened later could get their numbers.
    """
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: PTH123, SIM115 a name, open to the end


def _forget_output() -> None:
    """Point stdout at nothing, so that the interpreter's last flush does not fail again."""
    with open(os.devnull, "wb") as nothing:  # noqa: PTH123 os.devnull is a name, not a path of ours
        os.dup2(nothing.fileno(), sys.stdout.fileno())
