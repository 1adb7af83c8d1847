"""What can go wrong with a device; each error names the device and says what was wrong.

DeviceError
+-- DeviceUnreachableError   the device does not answer: nothing is known of its content
|   +-- DeviceBusyError      it answers that it is busy, for too long
+-- DeviceProtocolError      it answers, but not as the protocol asks: nothing of that read counts
"""

from __future__ import annotations

from kit.exitcodes import ExitCode, GridwitnessError


class DeviceError(GridwitnessError):
    """A read did not come to its end; no fingerprint follows from it.

    Args:
        device: Identifier of the device.
        reason: Short code for counters, such as ``timeout``.
        detail: What was wrong, for people.
    """

    status = "protocol-error"
    """How `wire.evidence` names a device in this condition."""

    def __init__(self, device: str, reason: str, detail: str) -> None:
        super().__init__(f"device {device}: {detail}")
        self.device = device
        self.reason = reason
        self.detail = detail


class DeviceUnreachableError(DeviceError):
    """The device does not answer."""

    exit_code = ExitCode.UNREACHABLE
    status = "unreachable"


class DeviceBusyError(DeviceUnreachableError):
    """The device answers that it is busy, again and again."""

    exit_code = ExitCode.TRY_AGAIN


class DeviceProtocolError(DeviceError):
    """The device answers something else than the protocol allows."""

    exit_code = ExitCode.DATA
