"""What the simulator refuses, and whose fault it is."""

from __future__ import annotations

from kit.exitcodes import ConfigurationError, DataError, UsageError


class BadRequestError(UsageError):
    """A request to the test bench names something that has no meaning."""


class UnknownDeviceError(UsageError):
    """No device of the scenario has this name."""


class RefusedError(DataError):
    """The request is understood, but here it would change nothing or break a bound."""


class ReleaseError(DataError):
    """A release folder is not complete."""


class ScenarioError(ConfigurationError):
    """A scenario file is wrong; the sentence names the file and the place."""


class SessionError(DataError):
    """A recorded session is none, or too large."""
