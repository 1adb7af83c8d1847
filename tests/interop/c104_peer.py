"""Another people's IEC 60870-5-104, c104, told over standard input what to do; runs in .venv-interop alone.

It imports nothing of ours, and nothing of ours imports c104, which is GPLv3. Each line of the input is one JSON object
{"do": ...}, each line of the output its answer, or {"error": what was wrong}. c104 calls back on threads of its own:
what they bring is put into lists and asked for.
"""

# No `from __future__ import annotations` here: c104 compares the annotations of its callbacks with its own types.

import datetime as dt
import json
import socket
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from typing import Any

import c104  # type: ignore[import-not-found]  # lives in .venv-interop alone

WAIT_S = 40
_TICK_MS = 50

Json = dict[str, Any]


class Peer:
    """A controlling or a controlled station of c104."""

    def __init__(self) -> None:
        self.client: Any = None
        self.connection: Any = None
        self.server: Any = None
        self.seen: list[list[Any]] = []
        self.raw: list[str] = []
        self.clocks: list[str] = []
        self.initialised: list[str] = []
        self.keep: list[object] = []

    # --- as the controlling station -----------------------------------------------------------------------------

    def connect(
        self,
        port: int,
        common_address: int,
        k: int = 12,
        w: int = 8,
        timeout_ms: int = 10_000,
    ) -> Json:
        """Connect, start data transfer, and note every point that comes.

        There is no TLS here: this version's client fails its own handshake, because it never names the host that its
        TLS library wants to verify.
        """
        self.client = c104.Client(tick_rate_ms=_TICK_MS, command_timeout_ms=timeout_ms)
        self.client.on_new_point(callable=self.on_new_point)
        self.client.on_station_initialized(callable=self.on_initialised)
        self.connection = self.client.add_connection(ip="127.0.0.1", port=port, init=c104.Init.NONE)
        self.connection.protocol_parameters.send_window_size = k
        self.connection.protocol_parameters.receive_window_size = w
        self.connection.add_station(common_address=common_address)
        self.connection.on_receive_raw(callable=self.on_client_raw)
        self.client.start()
        # `is_connected` is true before data transfer is started: only the state OPEN can ask.
        return {"open": self.wait(self.is_open)}

    def is_open(self) -> bool:
        if self.connection.state == c104.ConnectionState.OPEN_MUTED:
            self.connection.unmute()
        return bool(self.connection.state == c104.ConnectionState.OPEN)

    def interrogate(self, common_address: int) -> Json:
        return {"ok": self.connection.interrogation(common_address=common_address), "seen": len(self.seen)}

    def counters(self, common_address: int) -> Json:
        return {"ok": self.connection.counter_interrogation(common_address=common_address), "seen": len(self.seen)}

    def sync(self, common_address: int) -> Json:
        return {"ok": self.connection.clock_sync(common_address=common_address)}

    def test(self, common_address: int) -> Json:
        return {"ok": self.connection.test(common_address=common_address, with_time=True)}

    def read(self, common_address: int, io_address: int) -> Json:
        return {"ok": self.point(common_address, io_address).read()}

    def command(self, common_address: int, io_address: int) -> Json:
        """Send a single command, which no device of ours takes."""
        point = self.connection.get_station(common_address).add_point(io_address=io_address, type=c104.Type.C_SC_NA_1)
        point.value = True
        return {"ok": point.transmit(cause=c104.Cot.ACTIVATION)}

    def points(self, common_address: int) -> Json:
        """Give every point as c104 holds it now: address, type, value, quality, time of its tag."""
        station = self.connection.get_station(common_address)
        return {"points": [described(point) for point in station.points]}

    def state(self) -> Json:
        return {"state": self.connection.state.name}

    def on_new_point(self, client: c104.Client, station: c104.Station, io_address: int, point_type: c104.Type) -> None:
        point = station.add_point(io_address=io_address, type=point_type)
        point.on_receive(callable=self.on_point)

    def on_point(
        self, point: c104.Point, previous_info: c104.Information, message: c104.IncomingMessage
    ) -> c104.ResponseState:
        self.seen.append([point.io_address, point.type.name, message.cot.name])
        return c104.ResponseState.SUCCESS

    def on_initialised(self, client: c104.Client, station: c104.Station, cause: c104.Coi) -> None:
        self.initialised.append(cause.name)

    def on_client_raw(self, connection: c104.Connection, data: bytes) -> None:
        self.raw.append(data.hex())

    # --- as the controlled station ------------------------------------------------------------------------------

    def serve(self, common_address: int, points: list[list[Any]], tls: Json | None = None) -> Json:
        """Listen with the points [address, type, value]."""
        security = None if tls is None else transport_security(tls)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self.server = c104.Server(ip="127.0.0.1", port=port, tick_rate_ms=_TICK_MS, transport_security=security)
        self.server.on_receive_raw(callable=self.on_server_raw)
        self.server.on_clock_sync(callable=self.on_clock_sync)
        station = self.server.add_station(common_address=common_address)
        for io_address, type_name, value in points:
            point = station.add_point(io_address=io_address, type=getattr(c104.Type, type_name))
            put(point, value)
        self.server.start()
        return {"port": port}

    def spontaneous(self, common_address: int, io_address: int, value: float) -> Json:
        point = self.server.get_station(common_address).get_point(io_address)
        put(point, value)
        return {"ok": point.transmit(cause=c104.Cot.SPONTANEOUS)}

    def clients(self, count: int) -> Json:
        """Wait for so many clients that started data transfer."""
        return {"ok": self.wait(lambda: self.server.active_connection_count == count)}

    def on_server_raw(self, server: c104.Server, data: bytes) -> None:
        self.raw.append(data.hex())

    def on_clock_sync(self, server: c104.Server, ip: str, date_time: dt.datetime) -> c104.ResponseState:
        self.clocks.append(date_time.isoformat())
        return c104.ResponseState.SUCCESS

    # --- both ---------------------------------------------------------------------------------------------------

    def version(self) -> Json:
        return {"version": version("c104")}

    def wait_seen(self, count: int) -> Json:
        """Wait until so many points came: [address, type, cause] each, in their order."""
        return {"ok": self.wait(lambda: len(self.seen) >= count), "seen": self.seen}

    def wait_answer(self, type_id: int, cause: int) -> Json:
        """Wait until an APDU of this type and cause came, positive and of the line itself.

        c104's own word for it is not to be relied upon: a command whose answer is there before c104 begins to wait
        for it counts as unanswered.
        """
        head = bytes((type_id, 1, cause)).hex()
        return {"ok": self.wait(lambda: any(apdu[12:].startswith(head) for apdu in list(self.raw)))}

    def received(self) -> Json:
        """Give every APDU that came, as hex; for the server these are the bytes that the client sent."""
        return {"raw": self.raw}

    def told(self) -> Json:
        """Give what c104 was told aside from points."""
        return {"initialised": self.initialised, "clocks": self.clocks}

    def forget(self) -> Json:
        """Forget what came so far."""
        self.seen.clear()
        self.raw.clear()
        return {}

    def close(self) -> Json:
        if self.client is not None:
            self.client.stop()
        if self.server is not None:
            self.server.stop()
        self.client = self.connection = self.server = None
        self.seen, self.raw = [], []
        return {}

    def point(self, common_address: int, io_address: int) -> Any:  # noqa: ANN401 - c104's own type
        return self.connection.get_station(common_address).get_point(io_address)

    @staticmethod
    def wait(condition: Callable[[], bool]) -> bool:
        until_s = time.monotonic() + WAIT_S
        while not condition():
            if time.monotonic() > until_s:
                return False
            time.sleep(0.02)
        return True


def transport_security(tls: Json) -> Any:  # noqa: ANN401 - c104's own type
    """Make a TLS configuration of the files ca, certificate and key."""
    security = c104.TransportSecurity(validate=True, only_known=False)
    security.set_ca_certificate(cert=tls["ca"])
    security.set_certificate(cert=tls["certificate"], key=tls["key"])
    security.set_version(min=c104.TlsVersion.TLS_1_2, max=c104.TlsVersion.TLS_1_2)
    return security


def put(point: Any, value: Any) -> None:  # noqa: ANN401 - c104's own types
    """Set a value given as a number."""
    kinds: dict[str, Callable[[Any], Any]] = {
        "SP": bool,
        "DP": c104.Double,
        "ST": c104.Int7,
        "BO": lambda number: c104.Byte32(number.to_bytes(4, "big")),  # its own way from a number gives 0
        "NA": c104.NormalizedFloat,
        "NB": c104.Int16,
        "NC": float,
        "IT": int,
    }
    _, group, kind, _ = point.type.name.split("_")
    point.value = kinds[kind if group == "ME" else group](value)


def described(point: Any) -> list[Any]:  # noqa: ANN401 - c104's own type
    """Describe a point in JSON's types."""
    value = point.value
    if isinstance(value, c104.Byte32):
        value = int.from_bytes(bytes(value), "big")
    elif isinstance(value, c104.Double):
        value = int(value.value)
    elif isinstance(value, c104.Int7 | c104.Int16):
        value = int(value)
    elif isinstance(value, c104.NormalizedFloat):
        value = float(value)
    quality = point.quality
    recorded = point.recorded_at
    return [
        point.io_address,
        point.type.name,
        value,
        None if quality is None else quality.value,
        None if recorded is None else recorded.timestamp(),
    ]


def main() -> None:
    peer = Peer()
    for line in sys.stdin:
        request = json.loads(line)
        try:
            answer = getattr(peer, request.pop("do"))(**request)
        except Exception as error:  # noqa: BLE001 - whatever c104 raises, the caller sees it
            answer = {"error": f"{type(error).__name__}: {error}"}
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
