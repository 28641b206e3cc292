"""The server is killed in the middle of its work, and so is PostgreSQL: what was answered is there."""

import subprocess
import time
from contextlib import suppress

import httpx

from tests.conftest import Backend, Here
from tests.postgres import Server
from tests.processes import serving
from tests.promises.conftest import Prove, scale
from tests.promises.load import Writers, admin_key, ids_in

NUMBER, PROMISE = 5, "what was acknowledged survives a crash"
KILLS = scale(2, 10)
SOON = scale(30, 5)  # seconds until it is ready again; beside many other tests a start takes longer


def ready_within(client: httpx.Client, patience: float) -> float:
    start = time.monotonic()
    while time.monotonic() - start < patience:
        with suppress(httpx.TransportError):
            if client.get("/readyz").status_code == 200:
                return time.monotonic() - start
        time.sleep(0.05)
    raise AssertionError(f"not ready within {patience} s")


def test_no_acknowledged_write_is_lost_in_a_crash(
    lasting: tuple[Backend, Server | None], here: Here, proved: Prove
):
    backend, server = lasting
    url = backend.seeded()
    key = admin_key(url)
    total, slowest = (kill_postgresql if server else kill_the_service)(url, key, server)
    assert here("doctor", database_url=url)[0] == 0
    proved(
        f"{KILLS} kills, {total:,} acknowledged writes: 0 lost, ready again within {slowest:.1f} s, doctor content"
    )
    backend.drop(url)


def kill_the_service(url: str, key: str, _: object) -> tuple[int, float]:
    acknowledged: set[int] = set()
    slowest = 0.0
    for _ in range(KILLS):
        with (
            serving(url, log_level="error") as served,
            Writers(served.client.base_url, key).at_work() as writers,
        ):
            time.sleep(1)
            served.process.kill()
            served.process.wait()
            writers.ended.set()
        acknowledged |= writers.acknowledged
        start = time.monotonic()
        with serving(url, fresh=True, log_level="error") as served:
            ready_within(served.client, 30)
            slowest = max(slowest, time.monotonic() - start)
        assert acknowledged <= ids_in(url)
    assert slowest < SOON
    return len(acknowledged), slowest


def kill_postgresql(url: str, key: str, server: Server) -> tuple[int, float]:
    slowest = 0.0
    with serving(url, log_level="error") as served, Writers(served.client.base_url, key).at_work() as writers:
        for _ in range(KILLS):
            time.sleep(1)
            server.kill()
            time.sleep(0.5)
            while True:
                try:
                    server.resume()
                    break
                except subprocess.CalledProcessError:  # the processes of the old one are still leaving
                    time.sleep(0.2)
            slowest = max(slowest, ready_within(served.client, SOON))
            known = set(writers.acknowledged)
            assert known <= ids_in(url)
    assert {answer.status_code for answer in writers.refused} <= {503}
    assert all("retry-after" in answer.headers for answer in writers.refused)
    assert writers.acknowledged <= ids_in(url)
    return len(writers.acknowledged), slowest
