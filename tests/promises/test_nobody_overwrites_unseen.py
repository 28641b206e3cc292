"""Eight clients count up one number by reading, adding and writing: no step is lost."""

from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

import app.access
from app.models import now
from tests.conftest import Service
from tests.promises.conftest import Prove, scale

NUMBER, PROMISE = 8, "nobody overwrites a change unseen"
CLIENTS, STEPS = 8, scale(10, 40)


def count_up(town: Service, steps: int) -> tuple[int, int, int]:
    """How many increments were acknowledged, how many refused as stale, and the number in the end."""
    key = town.key("admin", last_used_at=now())

    def work(_: int) -> tuple[int, int]:
        done = stale = 0
        with town.holder(key) as client:
            while done < steps:
                seen = client.get("/sections/1")
                body = {"position": (seen.json()["position"] or 0) + 1}
                assert client.patch("/sections/1", json=body).status_code == 428
                answer = client.patch("/sections/1", json=body, headers={"If-Match": seen.headers["ETag"]})
                assert answer.status_code in (200, 412)
                done += answer.status_code == 200
                stale += answer.status_code == 412
        return done, stale

    before = town.anyone.get("/sections/1").json()["position"]
    with ThreadPoolExecutor(CLIENTS) as pool:
        done, stale = map(sum, zip(*pool.map(work, range(CLIENTS)), strict=True))
    after: int = town.anyone.get("/sections/1").json()["position"]
    return done, stale, after - before


def test_every_acknowledged_step_counts(town: Service, backend: object, proved: Prove):
    done, stale, counted = count_up(town, STEPS)
    assert counted == done == CLIENTS * STEPS
    proved(f"{CLIENTS} clients × {STEPS} increments: {counted} counted, {stale:,} refused as stale (412)")


def test_without_the_check_steps_would_be_lost(
    town: Service, backend: object, proved: Prove, monkeypatch: pytest.MonkeyPatch
):
    checked = app.access.must_match

    def unchecked(if_match: str | None, etag: str) -> None:
        checked(if_match and "*", etag)

    monkeypatch.setattr(app.access, "must_match", unchecked)
    done, _, counted = count_up(town, STEPS)
    assert counted < done
    proved(f"planted fault, no check: {done - counted} of {done} increments lost, and noticed")


def test_a_stale_removal_is_refused(town: Service, admin: httpx.Client):
    tag = admin.get("/sections/1").headers["ETag"]
    admin.patch("/sections/1", json={"title": "題"}, headers={"If-Match": tag})
    assert admin.delete("/sections/1", headers={"If-Match": tag}).status_code == 412
    assert admin.delete("/sections/1", headers={"If-Match": f"W/{tag}"}).status_code == 412
