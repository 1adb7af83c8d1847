from __future__ import annotations

import io
import json
import subprocess
import sys

import pytest
import typer

from kit import exitcodes
from kit.exitcodes import (
    ConfigurationError,
    DataError,
    ExitCode,
    GridwitnessError,
    PermissionDeniedError,
    StorageError,
    TryAgainError,
    UnreachableError,
    UsageError,
    exit_code_of,
    report_missing_package,
    run,
)
from wire.errors import CborError


def app_of(action: object) -> typer.Typer:
    app = typer.Typer(add_completion=False)

    @app.command()
    def go(
        count: int = 1,
        as_json: bool = typer.Option(False, "--json"),  # noqa: FBT001, FBT003 typer's way
    ) -> int | None:
        if isinstance(action, BaseException):
            raise action
        return action if isinstance(action, int) else None

    @app.command()
    def other() -> None:
        return

    return app


@pytest.mark.parametrize(
    ("verdicts", "code"),
    [
        ([], 0),
        (["match", "pending"], 0),
        (["no_slot"], 1),
        (["missing", "match"], 2),
        (["mismatch", "misfilled"], 4),
        (["superseded"], 4),
        (["incomplete"], 4),
        (["altered_between_polls"], 4),
        (["identity_changed"], 4),
        (["unknown_reference"], 8),
        (["stale", "clock_untrusted"], 16),
        (["unreachable"], 69),
        (["unreachable", "mismatch"], 4),
        (["no_slot", "missing", "mismatch", "unknown_reference", "stale"], 31),
    ],
)
def test_exit_code_of_verdicts_is_their_or(verdicts: list[str], code: int) -> None:
    assert exit_code_of(verdicts) == code


def test_exit_code_of_unknown_verdict_is_refused() -> None:
    with pytest.raises(DataError, match="'splendid' is unknown"):
        exit_code_of(["match", "splendid"])


@pytest.mark.parametrize(
    ("result", "code"), [(None, 0), (0, 0), (4, 4), (31, 31), (SystemExit(3), 3), (SystemExit(), 0)]
)
def test_run_of_command_returns_its_code(result: object, code: int) -> None:
    assert run(app_of(result), program="x", args=["go"]) == code


def test_run_of_explicit_exit_returns_its_code() -> None:
    assert run(app_of(typer.Exit(8)), program="x", args=["go"]) == 8


def test_run_of_system_exit_with_text_returns_74() -> None:
    assert run(app_of(SystemExit("gone")), program="x", args=["go"]) == 74


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (GridwitnessError("s"), 74),
        (UsageError("s"), 64),
        (DataError("s"), 65),
        (UnreachableError("s"), 69),
        (StorageError("s"), 74),
        (TryAgainError("s"), 75),
        (PermissionDeniedError("s"), 77),
        (ConfigurationError("s"), 78),
        (CborError("s"), 65),
        (PermissionError(13, "Permission denied", "f"), 77),
        (ConnectionRefusedError(111, "Connection refused"), 69),
        (TimeoutError("late"), 69),
        (FileNotFoundError(2, "No such file", "f"), 74),
        (ZeroDivisionError("by zero"), 74),
        (typer.Abort(), 130),
        (KeyboardInterrupt(), 130),
    ],
)
def test_run_of_failing_command_returns_its_code(
    error: BaseException, code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(app_of(error), program="x", args=["go"]) == code
    shown = capsys.readouterr()
    assert shown.out == ""
    if not isinstance(error, KeyboardInterrupt):
        assert shown.err.startswith("x: ")
        assert shown.err.count("\n") == 1


@pytest.mark.parametrize(
    ("args", "part"),
    [
        (["go", "--count", "many"], "'--count'"),
        (["go", "--counts", "1"], "--counts"),
        (["gone"], "gone"),
        (["go", "left-over"], "left-over"),
    ],
)
def test_run_of_wrong_usage_returns_64_and_names_the_help(
    args: list[str], part: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(app_of(None), program="prog", args=args) == 64
    shown = capsys.readouterr().err
    assert part in shown
    assert "--help'" in shown
    assert "prog" in shown


def test_run_without_command_returns_64(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(app_of(None), program="prog", args=[]) == 64
    assert "command" in capsys.readouterr().err.lower()


def test_run_of_group_without_command_shows_its_help(capsys: pytest.CaptureFixture[str]) -> None:
    app = app_of(None)
    group = typer.Typer(no_args_is_help=True)
    group.add_typer(app, name="inner")
    assert run(group, program="prog", args=[]) == 64
    assert "inner" in capsys.readouterr().out


def test_run_of_group_without_command_tells_help_and_sentence_apart(capsys: pytest.CaptureFixture[str]) -> None:
    app = app_of(None)
    group = typer.Typer(no_args_is_help=True, rich_markup_mode=None)
    group.add_typer(app, name="inner")
    assert run(group, program="prog", args=[]) == 64
    shown = capsys.readouterr().err
    assert shown.startswith("Usage: prog")
    assert shown.endswith("\n\nprog: A command is missing. See 'prog --help'\n")
    assert run(group, program="prog", args=["--json"]) == 64
    assert "Usage" not in capsys.readouterr().err


def test_run_of_value_refused_by_a_command_returns_64(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run(app_of(typer.BadParameter("no good")), program="prog", args=["go"]) == 64
    assert "no good" in capsys.readouterr().err


@pytest.mark.parametrize("place", [1, 2])
def test_run_of_an_argument_that_is_not_utf_8_returns_64_and_says_which(
    place: int, capsys: pytest.CaptureFixture[str]
) -> None:
    args = ["go", "größe"]
    args[place - 1] = "a\udcff"
    assert run(app_of(None), program="prog", args=args) == 64
    assert capsys.readouterr().err.startswith(f"prog: argument {place}, a\\udcff, is not UTF-8")


def test_word_without_end_is_cut_in_the_error_and_others_are_not(capsys: pytest.CaptureFixture[str]) -> None:
    path = "p" * 1023
    assert run(app_of(DataError(f"{path} holds {'x' * 5000}; look")), program="prog", args=["go"]) == 65
    assert capsys.readouterr().err == f"prog: {path} holds {'x' * 256}...; look\n".replace("; look", " look")


def test_usage_error_without_context_is_described() -> None:
    sentence, code = exitcodes.describe(typer.BadParameter("no good"))
    assert (sentence, code) == ("Invalid value: no good.", 64)


def test_run_interrupted_while_output_is_written_returns_130(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Interrupted(io.StringIO):
        def flush(self) -> None:
            raise KeyboardInterrupt

    monkeypatch.setattr(sys, "stdout", Interrupted())
    assert run(app_of(None), program="x", args=["go"]) == 130


def test_run_of_help_returns_0(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(app_of(None), program="prog", args=["--help"]) == 0
    assert "Usage" in capsys.readouterr().out


def test_run_with_json_prints_the_error_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(app_of(DataError("bad é")), program="x", args=["go", "--json"]) == 65
    shown = capsys.readouterr()
    assert json.loads(shown.out) == {"error": "bad é", "exit_code": 65}
    assert shown.err == ""


def test_run_with_json_after_the_options_end_prints_text(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run(app_of(None), program="x", args=["go", "--", "--json"]) == 64
    assert capsys.readouterr().out == ""


def test_run_of_unforeseen_error_tells_how_to_see_where(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(exitcodes.DEBUG_VARIABLE, raising=False)
    run(app_of(ZeroDivisionError("oops")), program="x", args=["go"])
    shown = capsys.readouterr().err
    assert "unexpected ZeroDivisionError: oops; set GRIDWITNESS_DEBUG=1" in shown
    assert "Traceback" not in shown


def test_run_with_debug_shows_the_traceback(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(exitcodes.DEBUG_VARIABLE, "1")
    assert run(app_of(ZeroDivisionError("oops")), program="x", args=["go"]) == 74
    assert "Traceback" in capsys.readouterr().err


def test_run_with_closed_output_returns_141() -> None:
    code = (
        "import sys, typer\nfrom kit.exitcodes import run\napp = typer.Typer()\n"
        "@app.command()\ndef go() -> None:\n    sys.stdout.write('x' * 1_000_000)\n"
        "sys.exit(run(app, program='x', args=[]))\n"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(20) == exitcodes.OUTPUT_CLOSED


_PROGRAM = (
    "import sys, typer\nfrom kit.exitcodes import run, DataError\napp = typer.Typer()\n"
    "@app.command()\ndef go(found: int, json: bool = False) -> int:\n"
    "    if found > 31:\n        raise DataError('bad')\n    print('x')\n    return found\n"
    "sys.exit(run(app, program='x', args=sys.argv[1:]))\n"
)


@pytest.mark.parametrize(
    ("shell", "code", "said"),
    [
        ("4 >&-", 4, ""),
        ("65 --json >&- 2>&-", 65, ""),
        ("65 >/dev/null 2>/dev/full", 65, ""),
        ("4 --json >/dev/full", 74, "x: No space left on device\n"),
        ("65 --json >/dev/full", 74, "x: bad (stdout: No space left on device)\n"),
    ],
)
def test_run_whose_output_cannot_be_written_ends_with_a_published_code(shell: str, code: int, said: str) -> None:
    command = f'exec "$0" -c "$1" {shell}'
    done = subprocess.run(
        ["/bin/sh", "-c", command, sys.executable, _PROGRAM], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stderr) == (code, said)


def test_exit_codes_are_those_published() -> None:
    assert [int(code) for code in ExitCode] == [0, 64, 65, 69, 74, 75, 77, 78]


def test_missing_package_of_a_program_is_named_with_its_extra(capsys: pytest.CaptureFixture[str]) -> None:
    error = ModuleNotFoundError("No module named 'pymodbus.client'", name="pymodbus.client")
    assert report_missing_package(error, program="gridwitness-agent", extra="agent") == 78
    told = capsys.readouterr().err
    assert told.startswith("gridwitness-agent: the package pymodbus is not installed")
    assert "pip install '.[agent]'" in told
    assert told.count("\n") == 1


def test_missing_module_of_our_own_is_a_defect() -> None:
    error = ModuleNotFoundError("No module named 'agent.nosuch'", name="agent.nosuch")
    with pytest.raises(ModuleNotFoundError):
        report_missing_package(error, program="gridwitness-agent", extra="agent")
