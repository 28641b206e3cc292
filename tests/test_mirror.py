"""A mirror is a faithful copy: whatever happens to it or to its source, it comes back to being equal, by itself."""

import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, nullcontext
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from random import Random
from typing import Any

import httpx
import pytest
import sqlalchemy as sa

from app.cli import beside, main
from app.documents.importing import import_document
from app.documents.told import Told
from app.kit import migrations
from app.mirror import Collision, Diverged, Mirror, Source, Unanswered
from app.models import FEED, PLAN, SOURCE
from tests.conftest import FUJIMI, KAWAGOE, SEED, Backend, Service, opened, running, started
from tests.processes import Process
from tests.test_changes import write_at_random

SLUG = "fujimi-yumetsunagu"
ANY = {"If-Match": "*"}
LOCAL = {"id", "measure_id", "document_id", "origin"}


@pytest.fixture
def prefecture(backend: Backend) -> Iterator[Service]:
    """A service whose database is empty."""
    url = backend.empty()
    with opened(url) as database:
        migrations.upgrade(database)
    with running(url) as service:
        yield service
    backend.drop(url)


def copy(
    target: Service, source: Service, municipality: str | None = None, say: Callable[[str], None] = print
) -> None:
    address = str(source.anyone.base_url).rstrip("/")
    with Mirror(target.database, Source(address, municipality), say) as mirror:
        mirror.once()


def rows(service: Service, noun: str, **filters: str) -> list[dict[str, Any]]:
    """All rows of a noun, without what is a local matter."""
    answer = service.anyone.get(f"/{noun}", params={"limit": 1000, "sort": "id", **filters})
    assert answer.status_code == 200
    shown = [{k: v for k, v in row.items() if k not in LOCAL} for row in answer.json()["results"]]
    return sorted(shown, key=lambda row: str(row["key"]))


def digest(service: Service, **filters: str) -> tuple[int, str]:
    told = service.anyone.get("/changes/digest", params=filters).json()
    return told["count"], told["digest"]


def assert_equal(target: Service, source: Service, **filters: str) -> None:
    assert digest(target, **filters) == digest(source, **filters)
    for noun in ("plans", "documents", "sections", "measures", "evaluations")["plan" in filters :]:
        assert rows(target, noun, **filters) == rows(source, noun, **filters)


# ---------------------------------------------------------------------------------------------------------


def test_a_copy_is_equal_in_all_that_is_not_local(prefecture: Service, town: Service):
    copy(prefecture, town)
    assert_equal(prefecture, town)
    assert prefecture.anyone.get("/documents/1/content").content == SEED.read_bytes()
    assert prefecture.anyone.get(f"/plans/{SLUG}").json()["origin"] == str(town.anyone.base_url).rstrip("/")
    assert town.anyone.get(f"/plans/{SLUG}").json()["origin"] is None


def test_to_copy_again_what_is_equal_changes_nothing(prefecture: Service, town: Service):
    copy(prefecture, town)
    before = prefecture.state()
    copy(prefecture, town)
    assert prefecture.state() == before


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_copy_follows_whatever_is_written(
    seed: int, prefecture: Service, town: Service, admin: httpx.Client
):
    copy(prefecture, town)
    for _ in range(3):
        write_at_random(admin, Random(seed), 40)
        copy(prefecture, town)
        assert_equal(prefecture, town)


def test_a_copy_of_a_copy_is_equal(backend: Backend, prefecture: Service, town: Service, admin: httpx.Client):
    url = backend.empty()
    with opened(url) as database:
        migrations.upgrade(database)
    with running(url) as nation:
        for _ in range(2):
            copy(prefecture, town)
            copy(nation, prefecture)
            assert_equal(nation, town)
            write_at_random(admin, Random(5), 40)
    backend.drop(url)


def test_one_municipality_is_copied_without_the_others(
    prefecture: Service, town: Service, admin: httpx.Client
):
    plan = {"slug": "kawagoe", "title": "計画", "municipality_code": KAWAGOE, "municipality": "川越市"}
    assert admin.post("/plans", json=plan).status_code == 201
    copy(prefecture, town, KAWAGOE)
    assert {plan["municipality_code"] for plan in rows(prefecture, "plans")} == {KAWAGOE}
    write_at_random(admin, Random(12), 80)
    copy(prefecture, town, KAWAGOE)
    assert_equal(prefecture, town, municipality=KAWAGOE)
    assert rows(prefecture, "plans", municipality=FUJIMI) == []


def test_several_towns_are_copied_into_one_prefecture(backend: Backend, prefecture: Service, town: Service):
    url = backend.empty()
    with opened(url) as database:
        migrations.upgrade(database)
    with running(url) as kawagoe, kawagoe.holder(kawagoe.key("admin")) as admin:
        plan = {"slug": "kawagoe", "title": "計画", "municipality_code": KAWAGOE, "municipality": "川越市"}
        admin.post("/plans", json=plan)
        with prefecture.holder(prefecture.key("admin")) as own:
            assert own.post("/plans", json={**plan, "slug": "saitama"}).status_code == 201
        for _ in range(2):
            copy(prefecture, town)
            copy(prefecture, kawagoe)
            assert_equal(prefecture, town, plan=SLUG)
            assert_equal(prefecture, kawagoe, plan="kawagoe")
            admin.post("/sections", json={"plan": "kawagoe", "code": "1"})
        assert [plan["slug"] for plan in rows(prefecture, "plans")] == [SLUG, "kawagoe", "saitama"]
        admin.delete("/plans/kawagoe", headers=ANY)
        copy(prefecture, kawagoe)
        assert [plan["slug"] for plan in rows(prefecture, "plans")] == [SLUG, "saitama"]
    backend.drop(url)


def test_a_text_may_hold_what_ends_a_line_elsewhere(prefecture: Service, town: Service, admin: httpx.Client):
    text = "前\u2028後\u2029\u0085\t終".replace("\u0085", "")
    assert admin.patch("/evaluations/1", json={"rationale": text}, headers=ANY).status_code == 200
    copy(prefecture, town)
    assert_equal(prefecture, town)


def test_a_plan_that_went_and_came_back_between_two_looks_is_followed(
    prefecture: Service, town: Service, admin: httpx.Client
):
    copy(prefecture, town)
    told = Told.model_validate(beside(SEED))
    for _ in range(2):
        assert admin.delete(f"/plans/{SLUG}", headers=ANY).status_code == 204
        with town.database.writing() as session:
            import_document(session, SEED.read_bytes(), SEED.name, told)
    copy(prefecture, town)
    assert_equal(prefecture, town)
    documents = prefecture.anyone.get("/documents").json()["results"]
    assert prefecture.anyone.get(f"/documents/{documents[0]['id']}/content").content == SEED.read_bytes()


def test_a_plan_that_comes_back_in_another_town_is_copied_there(
    prefecture: Service, town: Service, admin: httpx.Client
):
    plan = {"slug": "moves", "title": "計画", "municipality": "市"}
    admin.post("/plans", json={**plan, "municipality_code": FUJIMI})
    admin.post("/sections", json={"plan": "moves", "code": "1"})
    for code in (FUJIMI, KAWAGOE):
        copy(prefecture, town, code)
    admin.delete("/plans/moves", headers=ANY)
    admin.post("/plans", json={**plan, "municipality_code": KAWAGOE})
    admin.post("/sections", json={"plan": "moves", "code": "2"})
    for code in (KAWAGOE, FUJIMI):
        copy(prefecture, town, code)
    for code in (KAWAGOE, FUJIMI):
        assert_equal(prefecture, town, municipality=code)
    assert [row["key"] for row in rows(prefecture, "sections", plan="moves")] == ["moves/2"]


# ---------------------------------------------------------------------------------------------------------
# What is not its own


def test_what_was_copied_is_read_only_and_says_why(prefecture: Service, town: Service):
    copy(prefecture, town)
    before = prefecture.state()
    with prefecture.holder(prefecture.key("admin")) as admin:
        section = {"plan": SLUG, "code": "9"}
        measure = {"plan": SLUG, "section": "1", "code": "9", "title": "施策"}
        row = {"measure_id": 1, "fiscal_year": 2018}
        answers = [
            admin.post("/sections", json=section),
            admin.post("/measures", json=measure),
            admin.post("/evaluations", json=row),
            *(admin.patch(f"/{noun}/1", json={}, headers=ANY) for noun in ("plans", "sections", "measures")),
            *(admin.delete(f"/{noun}/1", headers=ANY) for noun in ("plans", "sections", "evaluations")),
        ]
        for answer in answers:
            assert answer.status_code == 403, answer.text
            assert str(town.anyone.base_url).rstrip("/") in answer.json()["detail"]
    assert prefecture.state() == before


def test_a_plan_of_ones_own_is_not_overwritten(town: Service, prefecture: Service):
    with prefecture.holder(prefecture.key("admin")) as admin:
        admin.post(
            "/plans",
            json={"slug": SLUG, "title": "別", "municipality_code": KAWAGOE, "municipality": "川越市"},
        )
    before = prefecture.state()
    with pytest.raises(Collision, match=SLUG):
        copy(prefecture, town)
    assert prefecture.state() == before
    assert rows(prefecture, "sections") == []


def test_who_forgets_a_source_may_copy_the_same_plans_from_elsewhere(
    backend: Backend, prefecture: Service, town: Service
):
    copy(prefecture, town)
    with running(town.url) as moved:  # the same service under a new address
        with pytest.raises(Collision, match=SLUG):
            copy(prefecture, moved)
        with Mirror(prefecture.database, Source(str(town.anyone.base_url).rstrip("/")), print) as mirror:
            assert mirror.forget() == 1
            assert rows(prefecture, "plans") == []
            with pytest.raises(Collision, match="keeps no copy"):
                mirror.forget()
        copy(prefecture, moved)
        assert_equal(prefecture, moved)


@pytest.mark.parametrize("scopes", [(None, FUJIMI), (FUJIMI, None)])
def test_two_copies_that_overlap_are_refused(
    scopes: tuple[str | None, str | None], prefecture: Service, town: Service
):
    copy(prefecture, town, scopes[0])
    before = prefecture.state()
    with pytest.raises(Collision, match="overlaps"):
        copy(prefecture, town, scopes[1])
    assert prefecture.state() == before
    copy(prefecture, town, scopes[0])


# ---------------------------------------------------------------------------------------------------------
# When the source is not what it was


def test_a_source_that_was_restored_is_copied_anew(prefecture: Service, town: Service, admin: httpx.Client):
    said: list[str] = []
    admin.post("/sections", json={"plan": SLUG, "code": "9"})
    copy(prefecture, town)
    with town.database.writing() as session:  # as a restored backup: an earlier state, and another life
        session.execute(sa.text("DELETE FROM section WHERE code = '9'"))
        session.execute(sa.text("DELETE FROM change WHERE seq = 57"))
        session.execute(sa.update(FEED).values(seq=56, epoch="restored"))
    admin.patch("/sections/1", json={"title": "復元後"}, headers=ANY)
    copy(prefecture, town, say=said.append)
    assert any("taking a new snapshot" in words for words in said)
    assert_equal(prefecture, town)


def test_a_source_that_was_replaced_by_another_is_copied_anew(
    backend: Backend, prefecture: Service, town: Service
):
    copy(prefecture, town)
    url = backend.empty()
    with opened(url) as database:
        migrations.upgrade(database)
    with running(url) as other, other.holder(other.key("admin")) as admin:
        admin.post(
            "/plans",
            json={"slug": "new", "title": "新", "municipality_code": FUJIMI, "municipality": "富士見市"},
        )
        with prefecture.database.writing() as session:  # the same address, another service behind it
            address = str(other.anyone.base_url).rstrip("/")
            session.execute(sa.update(SOURCE).values(address=address))
            session.execute(sa.update(PLAN).values(origin=address))
        copy(prefecture, other)
        assert_equal(prefecture, other)
    backend.drop(url)


def test_a_copy_that_was_tampered_with_is_noticed_and_made_anew(prefecture: Service, town: Service):
    copy(prefecture, town)
    with prefecture.database.writing() as session:
        session.execute(sa.text("UPDATE evaluation SET version = 7, rationale = '別の理由' WHERE id = 3"))
        session.execute(sa.text("DELETE FROM evaluation WHERE id = 4"))
    said: list[str] = []
    copy(prefecture, town, say=said.append)
    assert any("differs from its source" in words for words in said)
    assert_equal(prefecture, town)


class Nonsense(BaseHTTPRequestHandler):
    answers: Iterator[tuple[int, bytes]]

    def do_GET(self) -> None:
        status, body = next(self.answers)
        self.send_response(status)
        self.send_header("Content-Length", str(len(body) + 9 * (status == 206)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (200, "<html>ようこそ</html>".encode()),
        (200, b"[]\n"),
        (200, b""),
        (200, b'{"entity": "snapshot", "cursor": "x", "epoch": "e", "revision": 1, "rows": 2}\n'),
        (404, b""),
        (503, b""),
    ],
)
def test_what_is_no_shinchoku_leaves_the_copy_as_it_is(status: int, body: bytes, prefecture: Service):
    before = prefecture.state()
    Nonsense.answers = iter([(status, body)] * 9)
    with HTTPServer(("127.0.0.1", 0), Nonsense) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}"
        with pytest.raises(Unanswered), Mirror(prefecture.database, Source(url), print) as mirror:
            mirror.once()
        server.shutdown()
    assert prefecture.state() == before


class Slow(BaseHTTPRequestHandler):
    asked, go_on = threading.Event(), threading.Event()

    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b'{"entity": "snapshot", "cursor": "x", "epoch": "e", "revision": 1, "rows": 1}\n')
        self.wfile.flush()
        self.asked.set()
        self.go_on.wait(20)

    def log_message(self, format: str, *args: Any) -> None:
        pass


def test_while_a_snapshot_arrives_slowly_others_write(prefecture: Service):
    Slow.asked.clear()
    Slow.go_on.clear()
    with (
        HTTPServer(("127.0.0.1", 0), Slow) as server,
        ThreadPoolExecutor() as pool,
        Mirror(prefecture.database, Source(f"http://127.0.0.1:{server.server_port}"), print) as mirror,
        prefecture.holder(prefecture.key("admin")) as admin,
    ):
        threading.Thread(target=server.serve_forever, daemon=True).start()
        copying = pool.submit(mirror.once)
        assert Slow.asked.wait(10)
        time.sleep(0.3)
        plan = {"slug": "own", "title": "計画", "municipality_code": KAWAGOE, "municipality": "川越市"}
        start = time.monotonic()
        assert admin.post("/plans", json=plan).status_code == 201
        assert time.monotonic() - start < 5
        Slow.go_on.set()
        assert isinstance(copying.exception(), Unanswered)  # it broke off
        server.shutdown()


def test_a_file_that_is_not_to_be_had_is_not_stored_as_an_empty_one(
    prefecture: Service, town: Service, monkeypatch: pytest.MonkeyPatch
):
    """As behind a proxy, or from a standby that does not have it yet."""
    real = httpx.Client.stream
    answers = iter([404, 200, 404])

    def without_files(client: httpx.Client, method: str, url: str, **options: Any) -> Any:
        if "/content" in url and (status := next(answers, None)):
            return nullcontext(httpx.Response(status, content=b"", request=httpx.Request(method, url)))
        return real(client, method, url, **options)

    monkeypatch.setattr(httpx.Client, "stream", without_files)
    for _ in range(3):
        with pytest.raises(Unanswered):
            copy(prefecture, town)
        assert rows(prefecture, "documents") == []
    copy(prefecture, town)
    assert_equal(prefecture, town)
    assert prefecture.anyone.get("/documents/1/content").content == SEED.read_bytes()


def test_a_source_that_always_begins_anew_is_not_asked_without_end(prefecture: Service, town: Service):
    copy(prefecture, town)
    with Mirror(prefecture.database, Source(str(town.anyone.base_url).rstrip("/")), print) as mirror:
        snapshots = 0

        def diverged(*_: object) -> Any:
            raise Diverged("gone")

        def counted(*_: object) -> None:
            nonlocal snapshots
            snapshots += 1

        mirror._page, mirror._take_snapshot = diverged, counted  # type: ignore[method-assign]
        with pytest.raises(Unanswered, match="again and again"):
            mirror.once()
        assert snapshots == 2


# ---------------------------------------------------------------------------------------------------------
# The command


@contextmanager
def mirroring(target: str, source: str, log: Path) -> Iterator[Process]:
    process = Process(main, ["mirror", source], output=log, database_url=target)
    try:
        yield process
    finally:
        process.kill()


def wait_until(true: Callable[[], bool], seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end
        time.sleep(0.1)


def test_a_mirror_that_is_killed_goes_on_where_it_was(
    prefecture: Service, town: Service, admin: httpx.Client, tmp_path: Path
):
    log = tmp_path / "log"
    chance = Random(1)
    for _ in range(4):
        with mirroring(prefecture.url, str(town.anyone.base_url), log) as process:
            write_at_random(admin, chance, 60)
            time.sleep(chance.random())
            process.send_signal(signal.SIGKILL)
    with mirroring(prefecture.url, str(town.anyone.base_url), log):
        wait_until(lambda: digest(prefecture) == digest(town))
    assert_equal(prefecture, town)
    assert log.read_text().count("snapshot of revision") <= 4  # most often it just went on


def test_a_mirror_outlives_the_absence_of_its_source(backend: Backend, prefecture: Service, tmp_path: Path):
    url, log = backend.seeded(), tmp_path / "log"
    stack = ExitStack()
    with started(url) as town:
        address, port = str(town.anyone.base_url), town.anyone.base_url.port or 0
        stack.enter_context(mirroring(prefecture.url, address, log))
        wait_until(lambda: digest(prefecture) == digest(town))
    with stack:
        wait_until(lambda: "next try in" in log.read_text())
        with started(url, port) as again, again.holder(again.key("admin")) as admin:
            admin.patch("/sections/1", json={"title": "留守のあと"}, headers=ANY)
            wait_until(lambda: digest(prefecture) == digest(again))
    backend.drop(url)
