"""Start ``gridwitness-sim``, or say which of its packages are not installed."""

from __future__ import annotations

from kit.exitcodes import report_missing_package


def main() -> int:
    """Run the program and return its exit code."""
    try:
        from firmware_sim.cli import main as program  # noqa: PLC0415 it needs the packages of the extra
    except ModuleNotFoundError as error:
        return report_missing_package(error, program="gridwitness-sim", extra="sim")
    return program()


if __name__ == "__main__":
    raise SystemExit(main())
