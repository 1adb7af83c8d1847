"""Two links of a redundancy group, TLS, timers, and what a profile may say."""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path

import pytest

from agent.drivers.errors import DeviceProtocolError, DeviceUnreachableError
from agent.drivers.iec104_profile import Iec104Options
from agent.drivers.table import profile_schemas
from agent.model import TlsFiles
from agent.profile import Pacing, read_profile
from kit.config import ConfigProblemsError
from kit.tls import Authority
from tests.unit.agent.iec104_bench import CHECKSUMS, FILES, Station, driver_at, second_at, station_at, with_station
from tests.unit.agent.iec104_reads import changed
from wire.iec104.apci import UFunction, encode_u
from wire.iec104.link import LinkState

TWO = Pacing(connections=2)
START = encode_u(UFunction.STARTDT_ACT)
TEST = encode_u(UFunction.TESTFR_ACT)


@pytest.fixture(autouse=True)
def _no_pause_before_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agent.drivers.iec104._RETRY_PAUSE_MS", 0)


async def until_heard(station: Station, octets: bytes) -> None:
    async with asyncio.timeout(60):
        while octets not in b"".join(station.tap):  # noqa: ASYNC110 - the tap is a list
            await asyncio.sleep(0.001)


def state(station: Station) -> LinkState:
    return station.talks[0].link.state


def end(station: Station) -> None:
    """Cut all connections of a station."""
    for talk in station.talks:
        assert talk.transport is not None
        talk.transport.abort()


def test_data_transfer_is_on_one_link_and_the_other_is_held_ready() -> None:
    first, second = Station(), Station()

    async def work() -> None:
        async with station_at(first) as port, station_at(second) as other:
            driver = driver_at(port, changed(FILES, t3_ms=20), pacing=TWO, options=second_at(other), retries=1)
            found = await driver.read()
            await until_heard(second, TEST)
            assert await driver.read() == found
            assert state(second) is LinkState.STOPPED
            assert START not in b"".join(second.tap)
            end(first)
            await first.talks[0].is_lost.wait()
            assert await driver.read() == found
            assert state(second) is LinkState.STARTED
            assert (len(second.talks), driver.counters.switches) == (1, 1)
            await driver.close()
            await driver.close()

    asyncio.run(work())


def test_link_that_breaks_in_the_middle_of_a_file_gives_way_to_the_other() -> None:
    first, second = Station(), Station()
    first.lie = lambda raw: None if raw[0] == 123 else [raw]

    async def work() -> None:
        async with station_at(first) as port, station_at(second) as other:
            driver = driver_at(port, pacing=TWO, options=second_at(other), retries=1)
            assert len((await driver.read()).files) == 3
            assert driver.counters.switches == 1
            await driver.close()

    asyncio.run(work())


def test_device_that_bears_one_connection_gets_the_second_only_when_the_first_is_gone() -> None:
    first, second = Station(), Station()

    async def work() -> None:
        async with station_at(first) as port, station_at(second) as other:
            driver = driver_at(port, pacing=Pacing(), options=second_at(other), retries=1)
            await driver.read()
            assert second.talks == []
            end(first)
            await driver.read()
            assert (len(first.talks), len(second.talks)) == (1, 1)
            await driver.close()

    asyncio.run(work())


def test_group_whose_first_link_is_away_begins_on_the_second_and_without_both_is_unreachable() -> None:
    second = Station()

    async def work() -> None:
        async with station_at(second) as other:
            driver = driver_at(1, pacing=TWO, options=second_at(other))
            assert len((await driver.read()).files) == 3
            assert driver.counters.switches == 1
            await asyncio.sleep(0)
            await driver.close()
        driver = driver_at(1, pacing=TWO, options=second_at(1))
        with pytest.raises(DeviceUnreachableError, match=r"no connection to 127\.0\.0\.1:1"):
            await driver.read()
        await driver.close()

    asyncio.run(work())


def test_second_link_may_have_the_port_of_the_first() -> None:
    driver = driver_at(1, options=Iec104Options(second_host="127.0.0.2"))
    assert [(link.host, link.port) for link in driver._group._ends] == [("127.0.0.1", 1), ("127.0.0.2", 1)]


def test_connection_is_not_made_anew_before_its_pause_is_over() -> None:
    station = Station()

    async def work() -> None:
        async with station_at(station) as port:
            driver = driver_at(port, pacing=Pacing(connect_pause_ms=60))
            await driver.read()
            before_s = asyncio.get_running_loop().time()
            await driver.close()
            await driver.read()
            assert asyncio.get_running_loop().time() - before_s >= 0.06
            await driver.close()

    asyncio.run(work())


def test_idle_connection_is_tested_and_closed_when_the_test_is_not_answered() -> None:
    station = Station()

    async def work() -> None:
        async with station_at(station) as port:
            driver = driver_at(port, changed(CHECKSUMS, t1_ms=40, t2_ms=20, t3_ms=30))
            await driver.read()
            await until_heard(station, TEST)
            station.is_deaf = True
            await station.talks[0].is_lost.wait()
            station.is_deaf = False
            assert len((await driver.read()).files) == 3
            assert len(station.talks) == 2
            await driver.close()

    asyncio.run(work())


def test_what_came_is_acknowledged_within_t2() -> None:
    station = Station()

    async def work() -> None:
        async with station_at(station) as port:
            driver = driver_at(port, changed(CHECKSUMS, t1_ms=5000, t2_ms=20, w=12))
            await driver.read()
            async with asyncio.timeout(60):
                while station.talks[0].link.outstanding:  # noqa: ASYNC110 - the link is a state machine
                    await asyncio.sleep(0.001)
            await driver.close()

    asyncio.run(work())


# --- TLS --------------------------------------------------------------------------------------------------------


def issued(folder: Path, authority: Authority, name: str) -> tuple[Path, Path]:
    certificate, key = folder / f"{name}.crt", folder / f"{name}.key"
    authority.issue(name, ["127.0.0.1", "relay-7"]).save(certificate, key)
    return certificate, key


def device_side(folder: Path, authority: Authority) -> ssl.SSLContext:
    certificate, key = issued(folder, authority, "relay-7")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    context.load_verify_locations(cadata=authority.identity().certificate.decode())
    context.verify_mode = ssl.CERT_REQUIRED
    return context


@pytest.mark.parametrize("server_name", ["", "relay-7"])
def test_device_is_read_under_tls_with_both_sides_known(tmp_path: Path, server_name: str) -> None:
    authority = Authority.create("field")
    authority.identity().save(tmp_path / "ca.crt", tmp_path / "ca.key")
    tls = TlsFiles(tmp_path / "ca.crt", *issued(tmp_path, authority, "gw-1"), server_name)

    async def work() -> None:
        async with station_at(Station(), device_side(tmp_path, authority)) as port:
            driver = driver_at(port, tls=tls)
            assert len((await driver.read()).files) == 3
            await driver.close()

    asyncio.run(work())


def test_device_of_another_authority_or_name_is_not_read(tmp_path: Path) -> None:
    authority, stranger = Authority.create("field"), Authority.create("stranger")
    stranger.identity().save(tmp_path / "other.crt", tmp_path / "other.key")
    authority.identity().save(tmp_path / "ca.crt", tmp_path / "ca.key")
    pair = issued(tmp_path, authority, "gw-1")
    station = Station()

    async def work() -> None:
        async with station_at(station, device_side(tmp_path, authority)) as port:
            for tls in (TlsFiles(tmp_path / "other.crt", *pair), TlsFiles(tmp_path / "ca.crt", *pair, "relay-8")):
                driver = driver_at(port, tls=tls)
                with pytest.raises(DeviceProtocolError, match="no secure connection") as caught:
                    await driver.read()
                assert caught.value.reason == "tls"

    asyncio.run(work())
    assert station.tap == []


# --- profiles ---------------------------------------------------------------------------------------------------

HEAD = 'protocol = "iec104"\nabout = "x"\n[iec104]\n'
FILE = '[[iec104.file]]\nkind = "firmware"\naddress = 7001\nfile = 1\n'


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (HEAD, "no artefact"),
        (HEAD + FILE + FILE, "'firmware' is in two places"),
        (HEAD + "k = 4\n" + FILE, "1 <= w <= k"),
        (HEAD + "t1_ms = 10000\n" + FILE, "t2 < t1"),
        (HEAD + "texts_qualifier = 19\n" + FILE, "20"),
        (HEAD + FILE + "version_at = {address = 16777215, count = 2}\n", "the last address is 16777215"),
        (HEAD + FILE + "version_at = {address = 1, count = 65}\n", "64"),
        (HEAD + FILE + '[[iec104.points]]\ntype = "C_SC_NA_1"\naddress = 1\n', "M_ME_NB_1"),
        (HEAD + FILE + '[[iec104.points]]\ntype = "M_SP_NA_1"\naddress = 16777215\ncount = 2\n', "the last address"),
        (HEAD + FILE + 2 * '[[iec104.points]]\ntype = "M_SP_NA_1"\naddress = 1\n', "address 1 is listed twice"),
        (
            HEAD
            + FILE
            + '[[iec104.points]]\ntype = "M_SP_NA_1"\naddress = 1\ncount = 200000\n'
            + '[[iec104.points]]\ntype = "M_SP_NA_1"\naddress = 300000\n',
            "more than 200000",
        ),
    ],
)
def test_profile_that_makes_no_sense_is_refused(tmp_path: Path, text: str, problem: str) -> None:
    path = tmp_path / "relay.toml"
    path.write_text(text)
    with pytest.raises(ConfigProblemsError, match=problem):
        read_profile(path, profile_schemas())


def test_profile_says_in_which_way_each_artefact_is_obtained() -> None:
    assert FILES.specifics.methods() == dict.fromkeys(("firmware", "strategy", "settings"), "full-file")
    assert CHECKSUMS.specifics.methods() == dict.fromkeys(("firmware", "strategy", "settings"), "vendor-checksum")


def test_second_port_without_a_second_host_is_refused() -> None:
    with pytest.raises(ValueError, match="second_host is missing"):
        Iec104Options(second_port=2404)


def test_cancelled_read_closes_its_connection() -> None:
    station = Station(is_deaf=True)

    async def work(driver: object) -> None:
        reading = asyncio.create_task(driver.read())  # type: ignore[attr-defined]
        await until_heard(station, START)
        reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading
        await station.talks[0].is_lost.wait()

    asyncio.run(with_station(station, work))
