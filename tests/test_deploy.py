"""Several servers over one PostgreSQL behind nginx, with the very configuration that deploy/ holds."""

import inspect
import json
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from http.client import HTTPConnection
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import psycopg
import pytest
import sqlalchemy as sa
import uvicorn.config
import yaml

from app.cli import KEEP_ALIVE, _parser, main
from app.feed import LONGEST_WAIT
from app.kit.settings import ROOT, Settings
from app.models import EVALUATION
from tests.conftest import Backend, opened
from tests.postgres import find_binaries, hand_over, postgres, unprivileged
from tests.processes import NOBODY, Process, Served, caller, free_port, serving
from tests.promises.load import admin_key
from tests.test_feed import end_of, got

DEPLOY = ROOT / "deploy"
NGINX_CONF = (DEPLOY / "nginx.conf").read_text("utf-8")
ANY = {"If-Match": "*"}
INTERLEAVINGS = 40
LARGE = 10_000  # rows of the export
YEAR_OF_LARGE = 2050


class Proxy(NamedTuple):
    address: str
    client: httpx.Client
    folder: Path

    def logged(self) -> str:
        return (self.folder / "access.log").read_text("utf-8")


def configured(folder: Path, port: int, servers: tuple[int, int], conf: str = NGINX_CONF) -> Path:
    """The configuration with these ports, and with a folder of its own for what nginx writes."""
    told = {f"app{n}:8000": f"127.0.0.1:{server}" for n, server in enumerate(servers, 1)}
    told |= {
        "listen 8080": f"listen 127.0.0.1:{port}",
        "/dev/stdout": f"{folder}/access.log",
        "error_log stderr": f"error_log {folder}/error.log",
        "http {\n": "http {\n"
        + "".join(
            f"{kind}_temp_path {folder}/{kind};\n"
            for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        ),
    }
    for before, after in told.items():
        assert conf.count(before) == 1, before
        conf = conf.replace(before, after)
    file = folder / "nginx.conf"
    file.write_text(conf, "utf-8")
    return file


@contextmanager
def behind(folder: Path, *servers: int, conf: str = NGINX_CONF, tls: bool = False) -> Iterator[Proxy]:
    nginx = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
    if nginx is None:
        assert not os.environ.get("CI"), "no nginx on this machine, and none could be installed"
        pytest.skip("no nginx on this machine: what stands in front of several servers is not tried")
    port = free_port()
    first, second = servers
    user = "user root; " if os.geteuid() == 0 else ""  # who may enter the folder of the tests
    command = [nginx, "-c", configured(folder, port, (first, second), conf), "-e", folder / "error.log"]
    with subprocess.Popen(
        [*command, "-g", f"daemon off; {user}pid {folder}/pid;"],
        stderr=subprocess.PIPE,
    ) as process:
        try:
            address = f"http{'s' if tls else ''}://127.0.0.1:{port}"
            with httpx.Client(base_url=address, timeout=30, verify=False if tls else NOBODY) as client:
                give_up = time.monotonic() + 10
                while not answers(port):
                    assert process.poll() is None, process.stderr and process.stderr.read()
                    assert time.monotonic() < give_up
                    time.sleep(0.02)
                yield Proxy(address, client, folder)
        finally:
            process.terminate()


def answers(port: int) -> bool:
    with socket.socket() as trial:
        return trial.connect_ex(("127.0.0.1", port)) == 0


class Several(NamedTuple):
    url: str
    key: str
    servers: tuple[Served, Served]
    proxy: Proxy

    @property
    def anyone(self) -> httpx.Client:
        return self.proxy.client

    def holder(self) -> httpx.Client:
        return caller(self.proxy.address, self.key)


@pytest.fixture(scope="module")
def several(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Several]:
    """Two servers over one database, and the proxy in front of them."""
    with postgres() as server, ExitStack() as stack:
        backend = Backend("postgresql", tmp_path_factory.mktemp("databases"), server)
        url = backend.seeded()
        key = admin_key(url)
        one, other = (stack.enter_context(serving(url)) for _ in range(2))
        proxy = stack.enter_context(behind(tmp_path_factory.mktemp("nginx"), one.port, other.port))
        yield Several(url, key, (one, other), proxy)
        stack.close()
        backend.drop(url)
        backend.drop(backend._seeded)


# ---------------------------------------------------------------------------------------------------------
# What the proxy must leave as it is


def test_a_write_through_one_server_is_seen_at_once_through_the_other(several: Several):
    before = [served.said().count('"path": "/sections/1"') for served in several.servers]
    tags = set()
    stale = 0
    with several.holder() as writer, caller(several.proxy.address) as reader:
        known = {"If-None-Match": reader.get("/sections/1").headers["ETag"]}
        for n in range(INTERLEAVINGS):
            wrote = writer.patch("/sections/1", json={"title": f"第{n}版"}, headers=ANY)
            assert wrote.status_code == 200
            for address in ("/sections/1", "/sections?limit=1", "/sections/1"):
                answer = reader.get(address, headers=known)
                stale += answer.status_code != 200 or f"第{n}版" not in answer.text
            known = {"If-None-Match": answer.headers["ETag"]}
            assert reader.get("/sections/1", headers=known).status_code == 304
            tags.add(answer.headers["ETag"])
    assert (stale, len(tags)) == (0, INTERLEAVINGS)
    for served, earlier in zip(several.servers, before, strict=True):  # so both have answered
        assert served.said().count('"path": "/sections/1"') - earlier > INTERLEAVINGS


def test_who_waits_for_a_change_hears_of_it(several: Several):
    cursor = end_of(several.anyone)
    with ThreadPoolExecutor() as pool, several.holder() as admin:
        waiting = [pool.submit(got, several.anyone, "/changes", after=cursor, wait=30) for _ in range(4)]
        time.sleep(0.5)
        assert not any(one.done() for one in waiting)
        start = time.monotonic()
        assert admin.patch("/sections/2", json={"title": "変更"}, headers=ANY).status_code == 200
        assert {one.result()["results"][0]["data"]["title"] for one in waiting} == {"変更"}
        assert time.monotonic() - start < 3


def test_events_are_not_held_back(several: Several):
    cursor = end_of(several.anyone)
    headers = {"Accept": "text/event-stream"}
    with (
        several.anyone.stream("GET", "/changes", params={"after": cursor}, headers=headers) as stream,
        several.holder() as admin,
    ):
        lines = stream.iter_lines()
        assert next(lines) == "retry: 3000"
        admin.patch("/sections/2", json={"title": "出来事"}, headers=ANY)
        start = time.monotonic()
        assert next(line for line in lines if line.startswith("data: ")).count("出来事") == 1
        assert time.monotonic() - start < 3


def test_a_large_export_is_sent_while_it_is_made(several: Several):
    columns = [column.name for column in EVALUATION.c]
    given = {"id": "1000000 + n", "fiscal_year": str(YEAR_OF_LARGE), "ordinal": "n", "place": "place || n"}
    with opened(several.url) as database, database.writing() as session:
        session.execute(
            sa.text(
                f"INSERT INTO evaluation ({', '.join(columns)}) "
                f"SELECT {', '.join(given.get(name, name) for name in columns)} "
                f"FROM evaluation, generate_series(1, {LARGE}) AS n WHERE id = 1"
            )
        )
    start = time.monotonic()
    with several.anyone.stream("GET", f"/evaluations.jsonl?fiscal_year={YEAR_OF_LARGE}") as answer:
        parts = answer.iter_raw()
        size = len(next(parts))
        first = time.monotonic() - start
        assert "Content-Length" not in answer.headers
        for part in parts:
            size += len(part)
    whole = time.monotonic() - start
    with several.servers[0].client.stream("GET", f"/evaluations.jsonl?fiscal_year={YEAR_OF_LARGE}") as answer:
        assert sum(map(len, answer.iter_raw())) == size
    assert first < whole * 0.8, (first, whole)
    snapshot = several.anyone.get("/snapshot.jsonl").content.splitlines()
    assert f'"rows":{len(snapshot) - 1}}}'.encode() in snapshot[0]


def test_tags_conditions_and_compression_are_those_of_the_service(several: Several):
    direct = several.servers[0].client
    for address in ("/measures", "/sections/1", "/p/fujimi-yumetsunagu"):
        for headers in ({"Accept-Encoding": "gzip"}, {"Accept-Encoding": "identity"}):
            answer, own = (client.get(address, headers=headers) for client in (several.anyone, direct))
            assert (answer.status_code, answer.content) == (200, own.content)
            told, told_directly = (
                {k: v for k, v in one.headers.items() if k not in ("server", "date", "connection")}
                for one in (answer, own)
            )
            assert told == told_directly
            compressed = headers["Accept-Encoding"] == "gzip" and address != "/sections/1"  # which is short
            assert ("content-encoding" in told) == compressed
            assert told["etag"].startswith('"')
            head = several.anyone.head(address, headers=headers)
            assert (head.status_code, head.content, head.headers["ETag"]) == (200, b"", told["etag"])
            known = several.anyone.get(address, headers=headers | {"If-None-Match": told["etag"]})
            assert (known.status_code, known.content, known.headers["ETag"]) == (304, b"", told["etag"])


def test_addresses_lead_back_through_the_proxy(several: Several):
    answer = several.anyone.get("/measures?limit=7&q=支援")
    codes = [row["id"] for row in answer.json()["results"]]
    while "next" in answer.links:
        answer = several.anyone.get(answer.links["next"]["url"])
        codes += [row["id"] for row in answer.json()["results"]]
    assert len(codes) > 7
    assert codes == [row["id"] for row in several.anyone.get("/measures?q=支援").json()["results"]]
    with several.holder() as admin:
        made = admin.post("/sections", json={"plan": "fujimi-yumetsunagu", "code": "90"})
        assert made.status_code == 201
        assert several.anyone.get(made.headers["Location"]).json() == made.json()
    assert f"{several.proxy.address}/" in several.anyone.get("/catalog.jsonld").text


def test_what_is_percent_encoded_stays_so(several: Several):
    for address in (
        "/plans/%2e%2e%2fsections",
        "/plans//1",
        "/nowhere/%E8%A8%88%E7%94%BB",
        "/measures?q=%2B%25",
    ):
        answer, own = (client.get(address) for client in (several.anyone, several.servers[0].client))
        assert (answer.status_code, answer.json()) == (own.status_code, own.json()), address


def test_with_tls_the_pages_name_the_secure_address(several: Several, tmp_path: Path):
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("no openssl on this machine to make a certificate with")
    made = ["-keyout", tmp_path / "privkey.pem", "-out", tmp_path / "fullchain.pem", "-subj", "/CN=localhost"]
    subprocess.run(
        [openssl, "req", "-x509", "-newkey", "rsa:2048", "-nodes", *made], check=True, capture_output=True
    )
    conf = NGINX_CONF.replace("        listen 8080;\n", "").replace("# listen 8443 ssl;", "listen 8080 ssl;")
    conf = re.sub("# (ssl_|add_header Strict)", r"\1", conf).replace("/etc/nginx/tls", str(tmp_path))
    with behind(tmp_path, *(served.port for served in several.servers), conf=conf, tls=True) as proxy:
        answer = proxy.client.get("/catalog.jsonld")
    assert proxy.address.startswith("https://")
    assert f"{proxy.address}/" in answer.text
    assert "http://127.0.0.1" not in answer.text
    assert "Strict-Transport-Security" in answer.headers


# ---------------------------------------------------------------------------------------------------------
# Limits


@pytest.mark.parametrize(
    ("path", "most"), [("/sections", Settings().max_body_bytes), ("/imports", Settings().max_import_bytes)]
)
@pytest.mark.parametrize("length", ["told", "not told"])
def test_what_is_too_large_is_refused_in_the_words_of_the_service(
    several: Several, path: str, most: int, length: str
):
    body = bytes(most + 1)
    parts = body if length == "told" else iter([body[:1000], body[1000:]])
    headers = {"Content-Type": "application/json", "Accept-Language": "en", "Origin": "https://example.jp"}
    with several.holder() as admin:
        refused = admin.post(path, content=parts, headers=headers)
        assert refused.status_code == 413
        assert refused.headers["Content-Type"] == "application/problem+json"
        assert refused.headers["Access-Control-Allow-Origin"] == "*"
        assert refused.json() == {
            "type": "/docs/problems/too-large",
            "title": "The body is too large",
            "status": 413,
            "detail": f"A body may have at most {most:,} bytes.",
            "instance": path,
        }
        taken = admin.post(path, content=body[:most], headers=headers)
        assert taken.status_code in (400, 422), taken.text  # it is no JSON, but it was read


def test_a_long_question_is_taken_as_the_service_takes_it(several: Several):
    mapping = "{" + "あ" * 7_000  # each is nine characters of the address
    answers = [
        client.post(
            "/imports", params={"mapping": mapping}, content=b"x", headers={"Authorization": "Bearer x"}
        )
        for client in (several.anyone, several.servers[0].client)
    ]
    assert answers[0].status_code == answers[1].status_code != 414
    assert answers[0].json() == answers[1].json()


def test_the_limits_of_the_proxy_are_those_of_the_service():
    limits = {name: Settings.model_fields[name].default for name in ("max_body_bytes", "max_import_bytes")}
    told = dict(re.findall(r"client_max_body_size (\d+);  # SHINCHOKU_(\w+)", NGINX_CONF))
    assert {name.lower(): int(size) for size, name in told.items()} == limits

    def seconds(directive: str) -> list[int]:
        return [int(found) for found in re.findall(rf"\b{directive} (\d+)s;", NGINX_CONF)]

    assert seconds("keepalive_timeout")[0] < KEEP_ALIVE
    assert min(seconds("proxy_read_timeout")) > max(LONGEST_WAIT, Settings().statement_timeout) + 10


# ---------------------------------------------------------------------------------------------------------
# Servers that go


class Readers:
    """Who asks all the time, each time something else."""

    def __init__(self, address: str, number: int = 4) -> None:
        self.statuses: list[int | str] = []
        self.address, self.numbers, self.ended = address, count(1), threading.Event()
        self.threads = [threading.Thread(target=self.read, daemon=True) for _ in range(number)]

    def read(self) -> None:
        with caller(self.address) as client:
            while not self.ended.is_set():
                try:
                    answer = client.get(f"/evaluations?limit={next(self.numbers) % 900 + 1}&fields=key")
                    self.statuses.append(answer.status_code)
                except httpx.TransportError as error:
                    self.statuses.append(repr(error))

    def go_on(self, answers: int = 60) -> None:
        until = len(self.statuses) + answers
        while len(self.statuses) < until:
            time.sleep(0.01)

    @contextmanager
    def at_work(self) -> Iterator[None]:
        for thread in self.threads:
            thread.start()
        try:
            self.go_on()
            yield
            self.go_on()
        finally:
            self.ended.set()
            for thread in self.threads:
                thread.join(30)


def test_a_server_that_is_killed_and_one_that_is_renewed_are_missed_by_nobody(
    several: Several, tmp_path: Path
):
    with ExitStack() as stack:
        one, other = (stack.enter_context(serving(several.url)) for _ in range(2))
        proxy = stack.enter_context(behind(tmp_path, one.port, other.port))
        readers = Readers(proxy.address)
        written: list[tuple[str, int]] = []

        def write() -> None:
            with caller(proxy.address, several.key) as admin:
                while not readers.ended.is_set():
                    text = f"その間の第{next(readers.numbers)}回"
                    row = {"measure_id": 1, "fiscal_year": 2018, "implementation": text}
                    written.append((text, admin.post("/evaluations", json=row).status_code))

        readers.threads.append(threading.Thread(target=write, daemon=True))
        with readers.at_work():
            os.killpg(one.process.pid, signal.SIGKILL)
            readers.go_on()
            again = Process(main, ["serve", "--port", str(one.port)], database_url=several.url)
            stack.callback(again.kill)
            while not one.up():
                time.sleep(0.02)
            after = len(written)
            assert other.end() in (0, -signal.SIGTERM)
        assert set(readers.statuses) == {200}
        assert {status for _, status in written[:after]} <= {201, 503}  # 503: the one that it was killed with
        assert {status for _, status in written[after:]} == {201}
    with opened(several.url) as database, database.reading() as session:
        made = session.scalars(
            sa.select(EVALUATION.c.implementation).where(EVALUATION.c.implementation.startswith("その間の"))
        ).all()
    assert len(made) == len(set(made))
    assert {text for text, status in written if status == 201} <= set(made) <= {text for text, _ in written}


class Dying:
    """A server that reads what it is asked, and is gone before it answers."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.port: int = self.socket.getsockname()[1]
        threading.Thread(target=self.die, daemon=True).start()

    def die(self) -> None:
        while True:
            try:
                connection, _ = self.socket.accept()
            except OSError:
                return
            with connection:
                self.asked.append(connection.recv(65536).decode().split()[0])

    def close(self) -> None:
        self.socket.shutdown(socket.SHUT_RDWR)
        self.socket.close()


@pytest.mark.parametrize(
    ("method", "times"),
    [("GET", 2), ("HEAD", 2), ("DELETE", 2), ("POST", 1), ("PATCH", 1)],
    ids=lambda value: str(value),
)
def test_a_write_that_may_have_been_done_is_sent_once(tmp_path: Path, method: str, times: int):
    with closing(Dying()) as one, closing(Dying()) as other, behind(tmp_path, one.port, other.port) as proxy:
        answer = proxy.client.request(method, "/sections", content=b"{}" if times == 1 else None)
        assert answer.status_code == 503
        assert one.asked + other.asked == [method] * times


def test_a_write_is_taken_to_another_server_when_one_cannot_be_reached(several: Several, tmp_path: Path):
    with (
        behind(tmp_path, free_port(), several.servers[0].port) as proxy,
        caller(proxy.address, several.key) as admin,
    ):
        for n in range(4):
            made = admin.post("/sections", json={"plan": "fujimi-yumetsunagu", "code": f"8{n}"})
            assert made.status_code == 201


def test_a_machine_that_does_not_answer_at_all_costs_a_second(several: Several, tmp_path: Path):
    with ExitStack() as stack:
        silent = stack.enter_context(socket.socket())
        silent.bind(("127.0.0.1", 0))
        silent.listen(0)
        port = silent.getsockname()[1]
        for _ in range(4):  # until nobody more is let in
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(("127.0.0.1", port))
        proxy = stack.enter_context(behind(tmp_path, port, several.servers[0].port))
        admin = stack.enter_context(caller(proxy.address, several.key))
        start = time.monotonic()
        assert [admin.get("/sections?limit=1").status_code for _ in range(2)] == [200, 200]
        made = [
            admin.post("/sections", json={"plan": "fujimi-yumetsunagu", "code": f"7{n}"}) for n in range(2)
        ]
        assert [answer.status_code for answer in made] == [201, 201]
        assert 0.9 < time.monotonic() - start < 8


@pytest.mark.parametrize(
    ("language", "title", "detail"),
    [
        (
            "ja,en;q=0.8",
            "しばらくしてからお試しください",
            "サーバーから応答がありません。数秒後にもう一度お試しください。書き込みのときは、反映されたかを先に確かめてください。",
        ),
        (
            "en-GB",
            "Please try again in a moment",
            "No server answers. Try again in a few seconds; after a write, see first whether it was done.",
        ),
    ],
)
def test_when_no_server_is_there_the_proxy_says_so(tmp_path: Path, language: str, title: str, detail: str):
    with behind(tmp_path, free_port(), free_port()) as proxy:
        answer = proxy.client.get("/plans/1?x=%22", headers={"Accept-Language": language})
        with closing(HTTPConnection("127.0.0.1", proxy.client.base_url.port)) as connection:
            connection.request("GET", '/plans/","status":200,"x":"', headers={"Accept-Language": language})
            hostile = json.loads(connection.getresponse().read())
        assert httpx.get(f"{proxy.address}/livez", verify=NOBODY).status_code == 503
    assert answer.json() == {
        "type": "/docs/problems/unavailable",
        "title": title,
        "status": 503,
        "detail": detail,
        "instance": "/plans/1",
    }
    assert answer.status_code == 503
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert answer.headers["Content-Language"] == language[:2]
    assert answer.headers["Access-Control-Allow-Origin"] == "*"
    assert (answer.headers["Retry-After"], answer.headers["Cache-Control"]) == ("2", "no-store")
    assert hostile == answer.json() | {"instance": "/plans/"}


def test_what_nginx_cannot_read_is_a_problem_too(several: Several):
    with closing(HTTPConnection("127.0.0.1", several.anyone.base_url.port)) as connection:
        connection.request("GET", f"/plans?q={'x' * 300_000}", headers={"Accept-Language": "en"})
        answer = connection.getresponse()
        problem = json.loads(answer.read())
    assert (answer.status, answer.headers["Content-Type"]) == (400, "application/problem+json")
    assert (problem["type"], problem["status"]) == ("/docs/problems/malformed", 400)


def test_no_key_is_in_what_is_logged(several: Several):
    with several.holder() as admin:
        assert admin.get(f"/sections?limit=1&key={several.key}").status_code == 422
        admin.patch("/sections/1", json={"title": several.key}, headers=ANY)
    logged = several.proxy.logged()
    assert '"path": "/sections"' in logged
    assert several.key not in logged
    assert "Bearer" not in logged
    assert several.key not in (several.proxy.folder / "error.log").read_text("utf-8")


# ---------------------------------------------------------------------------------------------------------
# The containers

COMPOSE: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text("utf-8"))
SERVICES: dict[str, Any] = COMPOSE["services"]
DOCKERFILE = (ROOT / "Dockerfile").read_text("utf-8")
OURS = [name for name, service in SERVICES.items() if "build" in service]
OF_OTHERS = {
    "POSTGRES_USER",
    "POSTGRES_DB",
    "POSTGRES_PASSWORD",
    "FORWARDED_ALLOW_IPS",
}  # of the image, of uvicorn


def test_each_variable_of_the_containers_is_one_that_somebody_reads():
    scripts = "".join((DEPLOY / name).read_text("utf-8") for name in ("primary.sh", "standby.sh"))
    settings = {f"SHINCHOKU_{name.upper()}" for name in Settings.model_fields}
    for name, service in SERVICES.items():
        given = set(service.get("environment", {}))
        read = (
            settings | {"FORWARDED_ALLOW_IPS"}
            if name in OURS
            else OF_OTHERS | set(re.findall(r"\$(\w+)", scripts))
        )
        assert given <= read | ({"PGPASSWORD"} if name == "standby" else set()), name
    assert "FORWARDED_ALLOW_IPS" in inspect.getsource(uvicorn.config)
    for name in OURS:
        known = SERVICES[name]["environment"]
        url = re.sub(r"\$\{\w+(:\?[^}]*)?\}", "secret", json.dumps(known))
        chosen = {
            key[10:].lower(): value for key, value in json.loads(url).items() if key.startswith("SHINCHOKU")
        }
        assert Settings(**chosen).read_database_url == "postgresql://shinchoku:secret@standby/shinchoku"


def test_the_containers_hold_no_secret():
    for service in SERVICES.values():
        for name, value in service.get("environment", {}).items():
            if "PASSWORD" in name:
                assert re.fullmatch(r"\$\{[A-Z_]+(:\?[^}]*)?\}", value), name
            assert not re.search(r"://\w+:(?!\$\{)", value), name


def test_the_containers_agree_with_the_image_the_proxy_and_the_commands():
    [exposed] = re.findall(r"^EXPOSE (\d+)$", DOCKERFILE, re.M)
    asked = re.findall(r"^ +server (\w+):(\d+)", NGINX_CONF, re.M)
    serving = [name for name in OURS if name != "migrate"]
    assert asked == [(name, exposed) for name in serving]
    [listens] = re.findall(r"^ +listen (\d+);$", NGINX_CONF, re.M)
    assert SERVICES["proxy"]["ports"] == [f"${{PORT:-{listens}}}:{listens}"]
    assert "./nginx.conf:/etc/nginx/nginx.conf:ro" in SERVICES["proxy"]["volumes"]
    connections = 0
    for name in OURS:
        program, *arguments = SERVICES[name]["command"]
        options = _parser().parse_args(arguments)
        assert program == "shinchoku"
        if name in serving:
            assert (options.host, options.port) == ("0.0.0.0", int(exposed))  # noqa: S104
            pool = int(SERVICES[name]["environment"]["SHINCHOKU_POOL_SIZE"])
            connections += options.workers * (pool + 2)
            assert int(SERVICES[name]["stop_grace_period"].removesuffix("s")) > 30
    assert connections <= 90  # of the 100 that PostgreSQL allows unless it is told otherwise
    for service in SERVICES.values():
        assert set(service.get("depends_on", {})) <= set(SERVICES)
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            assert source in COMPOSE["volumes"] or (DEPLOY / source).is_file()
        assert service["read_only"]
        assert "restart" in service


def test_the_commands_that_the_containers_are_told_about_exist():
    told = re.findall("^#.* shinchoku (.+)$", (DEPLOY / "compose.yaml").read_text("utf-8"), re.M)
    assert len(told) == 2
    for command in told:
        _parser().parse_args(shlex.split(command))


def test_what_others_have_made_is_of_a_version_that_is_named():
    images = {service["image"] for name, service in SERVICES.items() if name not in OURS}
    images |= set(re.findall("^FROM (.+)$", DOCKERFILE, re.M))
    assert len(images) == 3
    for image in images:
        assert re.fullmatch(r"[a-z]+:\d+(\.\d+)*-[a-z-]+", image), image
    [server] = {SERVICES[name]["image"].split(":")[1].split("-")[0] for name in ("primary", "standby")}
    assert f" postgresql-client-{server} " in DOCKERFILE  # what `backup` calls may not be older


def test_a_standby_follows_by_the_scripts_of_the_containers():
    folder = Path(tempfile.mkdtemp(prefix="shinchoku-", dir="/tmp"))
    with ExitStack() as stack:
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        primary, standby = folder / "primary", folder / "standby"
        standby.mkdir(mode=0o777)
        binaries = find_binaries(os.environ.get("SHINCHOKU_TEST_POSTGRES"), folder)
        hand_over(folder)
        port = free_port()
        environment = {
            "PATH": f"{binaries}:{os.environ['PATH']}",
            "PGPORT": str(port),
            "PGHOST": str(folder),
            "POSTGRES_USER": "shinchoku",
            "POSTGRES_DB": "postgres",
            "REPLICATION_PASSWORD": "it's secret",
        }

        def run(*command: str | Path, **given: str) -> None:
            done = subprocess.run(
                command, env=environment | given, cwd=folder, capture_output=True, text=True, **unprivileged()
            )
            assert done.returncode == 0, done.stderr

        def said(where: Path, question: str) -> Any:
            with psycopg.connect(f"host={where} port={port} user=shinchoku dbname=postgres") as connection:
                [answer] = connection.execute(question.encode()).fetchone() or (None,)
                return answer

        run("initdb", "-D", primary, "-U", "shinchoku", "-A", "trust", "--no-sync")
        (primary / "pg_hba.conf").write_text("local all all trust\n")
        _, *options = SERVICES["primary"]["command"]
        own = f"-c listen_addresses=127.0.0.1 -c unix_socket_directories={folder} -c fsync=off {' '.join(options)}"
        run("pg_ctl", "-D", primary, "-o", own, "-l", folder / "log", "-w", "start")
        stack.callback(run, "pg_ctl", "-D", primary, "-m", "immediate", "stop")
        run("sh", "-c", (DEPLOY / "primary.sh").read_text("utf-8"), PGDATA=str(primary))
        run("pg_ctl", "-D", primary, "reload")

        follow = (DEPLOY / "standby.sh").read_text("utf-8")
        aside = f"exec postgres -c listen_addresses='' -c unix_socket_directories={standby} -c fsync=off"
        assert follow.count("exec postgres") == 1
        given = {
            "PGDATA": str(standby),
            "PRIMARY": "127.0.0.1",
            "PGPASSWORD": environment["REPLICATION_PASSWORD"],
        }
        for _ in range(2):  # the second time, it has its copy already
            with (folder / "standby.log").open("w") as log:
                following = subprocess.Popen(
                    ["sh", "-c", follow.replace("exec postgres", aside)],
                    env=environment | given,
                    cwd=folder,
                    stdout=log,
                    stderr=log,
                    **unprivileged(),
                )
            try:
                said(folder, "SELECT pg_logical_emit_message(true, '', '')")
                until = time.monotonic() + 20
                while not caught_up(said, folder, standby):
                    assert following.poll() is None, (folder / "standby.log").read_text()
                    assert time.monotonic() < until, (folder / "standby.log").read_text()
                    time.sleep(0.05)
                assert said(standby, "SELECT pg_is_in_recovery()")
                assert said(standby, "SELECT current_setting('hot_standby_feedback')::boolean")
                assert said(folder, "SELECT usename = 'replicator' FROM pg_stat_replication")
            finally:
                following.send_signal(signal.SIGINT)
                following.wait(20)


def caught_up(said: Callable[[Path, str], Any], primary: Path, standby: Path) -> bool:
    try:
        there = said(primary, "SELECT pg_current_wal_lsn() - '0/0'")
        return bool(said(standby, "SELECT pg_last_wal_replay_lsn() - '0/0'") >= there)
    except psycopg.OperationalError:
        return False
