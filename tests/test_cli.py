"""The `shinchoku` command, as the people who run the service meet it: a process with its output and exit code."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import httpx
import openpyxl
import pytest
import sqlalchemy as sa
from psycopg.sql import SQL, Identifier

from app.kit import migrations
from app.models import API_KEY, FEED, now
from tests.conftest import SEED, Backend, Here, Service, opened
from tests.processes import caller, environment, free_port, serving, shinchoku

PLAN = "fujimi-yumetsunagu"
ROOT = SEED.parent.parent
KEY = re.compile(r"shk_[0-9a-f]{8}_[0-9a-f]{64}")


Refused = Callable[..., str]


@pytest.fixture
def refused(here: Here) -> Refused:
    """What a command says that must not succeed."""

    def run(*arguments: str | Path, **settings: str) -> str:
        code, out, said = here(*arguments, **settings)
        assert (code in (1, 2), out) == (True, "")
        return said

    return run


@pytest.fixture
def empty(backend: Backend) -> Iterator[str]:
    """The address of a database that was just created."""
    url = backend.empty()
    yield url
    backend.drop(url)


@pytest.fixture
def migrated(empty: str) -> str:
    with opened(empty) as database:
        migrations.upgrade(database)
    return empty


@pytest.fixture
def any_database(tmp_path: Path) -> str:
    """For what has nothing to do with the kind of database."""
    url = f"sqlite:///{tmp_path}/any.db"
    with opened(url) as database:
        migrations.upgrade(database)
    return url


def revision(url: str) -> int:
    with opened(url) as database, database.reading() as session:
        return session.scalars(sa.select(FEED.c.seq)).one()


def address_of(service: Service) -> str:
    return service.database.engine.url.render_as_string(hide_password=False)


# ---------------------------------------------------------------------------------------------------------
# migrate, serve


def test_a_new_database_is_migrated_served_and_seeded_once(empty: str):
    early = shinchoku("serve", "--port", str(free_port()), database_url=empty)
    assert (early.returncode, early.stdout) == (1, "")
    assert early.stderr.endswith(": shinchoku migrate\n")
    assert early.stderr.count("\n") == 1
    migrated = shinchoku("migrate", database_url=empty, fresh=True)
    assert (migrated.returncode, migrated.stderr) == (0, "")

    with serving(empty) as served:
        first = [served.get(path) for path in ("/plans", "/evaluations", "/documents")]
        assert served.get("/evaluations?limit=1")["metadata"]["resultset"]["count"] == 26
        assert served.client.get("/documents/1/content").content == SEED.read_bytes()
        assert served.end() in (0, -signal.SIGTERM)
        assert not served.up()
    with serving(empty) as served:
        assert [served.get(path) for path in ("/plans", "/evaluations", "/documents")] == first


def test_those_who_migrate_at_once_take_turns(empty: str):
    with ThreadPoolExecutor(3) as pool:
        answers = list(pool.map(lambda _: shinchoku("migrate", database_url=empty), range(3)))
    assert [(answer.returncode, answer.stderr) for answer in answers] == [(0, "")] * 3


def test_a_database_that_was_emptied_by_hand_stays_empty(town: Service, admin: httpx.Client):
    assert admin.delete(f"/plans/{PLAN}", headers={"If-Match": "*"}).status_code == 204
    stand = admin.get("/plans").json()["metadata"]["revision"]
    with serving(address_of(town)) as served:
        assert served.stand() == (0, stand)


def test_without_a_seed_nothing_is_seeded(any_database: str):
    with serving(any_database, seed="") as served:
        assert served.stand() == (0, 0)


def test_two_workers_serve_one_database(any_database: str, here: Here):
    _, key, _ = here("keys", "create", "--name", "x", "--role", "admin", database_url=any_database)
    with serving(any_database, "--workers", "2") as served:
        _, seeded = served.stand()

        def write(n: int) -> int:  # each on a connection of its own, so that both workers get some
            with caller(served.client.base_url, key.strip()) as one:
                row = {"measure_id": 1, "fiscal_year": 2018}
                ordinal: int = one.post("/evaluations", json=row).json()["ordinal"]
                return ordinal

        with ThreadPoolExecutor(4) as pool:
            assert sorted(pool.map(write, range(16))) == list(range(1, 17))
        assert served.stand() == (26 + 16, seeded + 16)
        assert served.end() in (0, -signal.SIGTERM)
        assert not served.up()


def test_what_is_served_is_logged_without_secrets_in_one_json_line_each(any_database: str):
    secret = "5ec4e7" * 10
    with serving(any_database) as served:
        headers = {"Authorization": f"Bearer shk_01234567_{secret}abcd", "If-Match": "*"}
        served.client.patch("/plans/1", json={"licence": "CC0"}, headers=headers)
        served.client.get("/plans/%0a%1b[31m?q=%E2%80%A8%0d", headers=headers)
        served.end()
        said = served.said()
    lines = [json.loads(line) for line in said.split("\n") if line]
    logged = {
        (line["method"], line["path"], line["status"]) for line in lines if line["message"] == "request"
    }
    assert logged >= {("PATCH", "/plans/1", 401), ("GET", "/plans/\n\x1b[31m", 422)}
    assert said.isascii()
    assert secret not in said


def test_a_port_that_is_taken_is_explained(any_database: str):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        answer = shinchoku("serve", "--port", str(taken.getsockname()[1]), database_url=any_database, seed="")
    assert answer.returncode != 0
    assert "Address already in use; take another with --port" in answer.stderr
    assert "Traceback" not in answer.stderr


@pytest.mark.parametrize("port", ["65536", "-1"])
def test_what_is_no_port_is_refused(port, any_database: str):
    answer = shinchoku("serve", "--port", port, database_url=any_database, seed="", patience=10)
    assert answer.returncode == 2
    assert "--port" in answer.stderr


# ---------------------------------------------------------------------------------------------------------
# import


def test_notes_of_another_plan_and_of_another_municipality_are_refused(
    any_database: str, document: Path, refused: Refused
):
    said = refused("import", str(document), "--plan", "fujimi", database_url=any_database)
    assert "is for the plan fujimi-yumetsunagu" in said
    migrated = ["import", str(document), "--municipality-code", "131016", "--municipality", "千代田区"]
    with opened(any_database) as database:
        migrations.upgrade(database)
    assert shinchoku("import", str(document), database_url=any_database).returncode == 0
    assert "131016" in refused(*migrated, database_url=any_database)


@pytest.fixture
def document(tmp_path: Path) -> Path:
    """A copy of the seed with what is told beside it."""
    shutil.copy(SEED.with_suffix(".toml"), tmp_path / "h29.toml")
    return Path(shutil.copy(SEED, tmp_path / "h29.txt"))


def test_importing_a_file_twice_changes_nothing(migrated: str, document: Path):
    first = shinchoku("import", document, database_url=migrated)
    assert (first.returncode, first.stderr) == (0, "")
    assert first.stdout.splitlines()[0].startswith("fujimi-yumetsunagu: 夢つなぐ富士見プロジェクト")
    assert "1 plan, 1 document, 4 section, 24 measure, 26 evaluation" in first.stdout
    stand = revision(migrated)
    assert stand == 56

    second = shinchoku("import", document, database_url=migrated)
    assert (second.returncode, second.stderr) == (0, "")
    assert [line.split() for line in second.stdout.splitlines()[1:3]] == [["created", "-"], ["updated", "-"]]
    assert revision(migrated) == stand


def test_of_many_new_measures_the_first_hundred_are_told_by_name(migrated: str, tmp_path: Path):
    table = tmp_path / "many.csv"
    rows = [f"1-1-{number},施策{number},実施,A" for number in range(1, 153)]
    table.write_text("\n".join(["番号,施策名,H29実施内容,H29評価", *rows]), "utf-8")
    told = ("--plan", "many", "--municipality-code", "131016", "--municipality", "千代田区", "--title", "多")
    said = shinchoku("import", table, *told, database_url=migrated)
    assert (said.returncode, said.stderr) == (0, "")
    [line] = [line for line in said.stdout.splitlines() if "measures new" in line]
    assert line.startswith("  measures new: 1-1-1, 1-1-2, ")
    assert line.endswith(", 1-1-100 … 52 more")


def test_a_file_with_mistakes_is_refused_whole_and_each_is_named_with_its_line(
    migrated: str, document: Path, refused: Refused
):
    lines = document.read_text("utf-8").split("\n")
    lines[10] = "\t".join(lines[10].split("\t")[:5])
    lines[12] += "\t欄外"
    lines[20] = lines[20].replace("\t", "", 1)
    document.write_text("\n".join(lines), "utf-8")
    said = refused("import", document, database_url=migrated)
    assert [int(line) for line in re.findall(r"^  line (\d+)", said, re.MULTILINE)] == [11, 13, 21]
    assert "nothing was written" in said
    assert "欄外" in said
    assert revision(migrated) == 0


@pytest.mark.parametrize(
    ("options", "spoil", "explained"),
    [
        (["nowhere.txt"], None, "nowhere.txt"),
        (["h29.txt"], lambda folder: (folder / "h29.toml").unlink(), "plan"),
        (["h29.txt", "--plan", "new"], lambda folder: (folder / "h29.toml").unlink(), "municipality"),
        (["h29.txt", "--plan", "New Plan"], None, "plan"),
        (["h29.txt", "--municipality-code", "112350"], None, "112356"),
        (["h29.txt", "--encoding", "klingon"], None, "cp932"),
        (["h29.txt"], lambda folder: (folder / "h29.toml").write_text("plan ="), "h29.toml"),
        (["h29.txt"], lambda folder: (folder / "h29.toml").write_bytes(b"plan = '\xff'"), "h29.toml"),
        (["h29.txt"], lambda folder: (folder / "h29.toml").write_text("plan = 1"), "plan"),
        (["h29.txt"], lambda folder: (folder / "h29.txt").write_text(""), "h29.txt"),
        (["h29.txt"], lambda folder: (folder / "h29.txt").write_bytes(b"\x00\xff" * 500), "h29.txt"),
        (["."], None, "cannot be read"),
    ],
)
def test_a_file_that_cannot_be_imported_is_explained(
    options, spoil, explained, any_database: str, document: Path, refused: Refused
):
    if spoil:
        spoil(document.parent)
    name, *others = options
    assert explained in refused("import", document.parent / name, *others, database_url=any_database)
    assert revision(any_database) == 0


@pytest.mark.parametrize("name", ["h29.doc", "h29.pdf", "h29"])
def test_a_kind_of_file_that_is_not_read_yet_is_refused(
    name, any_database: str, document: Path, refused: Refused
):
    copy = Path(shutil.copy(document, document.with_name(name)))
    assert ".tsv" in refused("import", copy, database_url=any_database)
    assert revision(any_database) == 0


def test_what_a_file_does_not_say_can_be_told_on_the_command_line(any_database: str, document: Path):
    document.with_suffix(".toml").unlink()
    told = (
        "--plan",
        "mine",
        "--municipality-code",
        "11235",
        "--municipality",
        "富士見市",
        "--encoding",
        "utf-8",
    )
    answer = shinchoku("import", document, *told, database_url=any_database)
    assert (answer.returncode, answer.stderr) == (0, "")
    assert revision(any_database) == 56


def test_what_is_missing_is_told_as_options_of_the_command(
    any_database: str, document: Path, refused: Refused
):
    notes = document.with_suffix(".toml")
    notes.unlink()
    said = refused("import", document, database_url=any_database)
    assert (
        "--plan に計画の識別名を指定してください。 Tell which plan the document is about, with --plan:"
        in said
    )
    said = refused("import", document, "--plan", "new", database_url=any_database)
    assert "To make it, tell --municipality-code and --municipality.\n" in said
    assert "It may stand in h29.toml beside the file, too." in said
    told = ["--plan", "new", "--municipality-code", "112356", "--municipality", "富士見市"]
    document.write_text(document.read_text("utf-8").replace("夢つなぐ", "平成29年度"), "utf-8")
    done = shinchoku("import", document, *told, database_url=any_database)
    assert (done.returncode, "--title で指定してください。" in done.stdout) == (0, True)
    renamed = document.read_text("utf-8").replace("子ども未来応援基金の創設", "基金のon_rename=x")
    document.write_text(renamed, "utf-8")
    said = refused("import", document, "--plan", "new", database_url=any_database)
    assert "「基金のon_rename=x」に変わっています。名称変更であれば --on-rename update を指定" in said


@pytest.mark.parametrize(("command", "code"), [(["import", "h29.txt"], 0), (["doctor"], 141)])
def test_who_stops_reading_ends_a_command_quietly(
    command: list[str], code: int, any_database: str, document: Path
):
    """As `| head -1` does. What an import has written stands, and its exit status says so."""
    read, written = os.pipe()
    os.close(read)
    run = "import sys; from app.cli import main; sys.exit(main())"
    ended = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(ROOT)!r}); {run}", *command],
        stdout=written,
        stderr=subprocess.PIPE,
        env=environment(database_url=any_database),
        cwd=document.parent,
        check=False,
    )
    os.close(written)
    assert (ended.returncode, ended.stderr) == (code, b"")
    assert revision(any_database) == (56 if command[0] == "import" else 0)


# ---------------------------------------------------------------------------------------------------------
# keys


def test_what_columns_were_understood_as_can_stand_beside_the_file(any_database: str, tmp_path: Path):
    """Also where its sheets are of several years."""
    book = openpyxl.Workbook()
    for year, sheet in (("R4", book.active), ("R5", book.create_sheet())):
        sheet.title = year
        for row in (["い計画"], ["番号", "事業名", "実績", "評価", ""], ["1", "学習", year, "A", "x"]):
            sheet.append(row)
    file = tmp_path / "book.xlsx"
    book.save(file)
    new = ["--plan", "i", "--municipality-code", "112356", "--municipality", "富士見市"]
    told = '{"5": {"field": "extra", "name": "注"}}'
    done = shinchoku("import", file, *new, "--mapping", told, database_url=any_database)
    mapping = done.stdout[done.stdout.index("  [mapping]") :]
    assert '5 = {field = "extra", name = "注"}' in mapping
    file.with_suffix(".toml").write_text('plan = "i"\n' + mapping, "utf-8")
    again = shinchoku("import", file, database_url=any_database)
    assert again.returncode == 0, again.stderr
    assert re.search("unchanged .*2 evaluation", again.stdout)


def test_a_key_is_shown_once_works_and_ends_when_it_is_revoked(town: Service):
    url = address_of(town)
    whose = ("--name", "子育て支援課", "--role", "editor", "--municipality", "11235")
    made = shinchoku("keys", "create", *whose, database_url=url)
    assert made.returncode == 0
    key = made.stdout.splitlines()[-1]
    assert KEY.fullmatch(key)

    def write(title: str) -> int:
        headers = {"Authorization": f"Bearer {key}", "If-Match": "*"}
        return town.anyone.patch("/sections/1", json={"title": title}, headers=headers).status_code

    assert write("一") == 200
    listed = shinchoku("keys", "list", database_url=url).stdout
    [line] = listed.splitlines()[1:]
    id, role, municipality, created, used, expires, state, name = line.split()
    assert (role, municipality, expires, state, name) == ("editor", "112356", "-", "valid", "子育て支援課")
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\d", day) for day in (created, used))
    assert key.startswith(f"shk_{id}_")
    assert key.split("_")[2] not in listed

    revoked = shinchoku("keys", "revoke", id, database_url=url)
    assert (revoked.returncode, revoked.stderr) == (0, "")
    assert write("二") == 401
    assert town.anyone.get("/sections/1").json()["title"] == "一"


def test_a_key_that_is_not_there_cannot_be_revoked(any_database: str, refused: Refused):
    assert "0123abcd" in refused("keys", "revoke", "0123abcd", database_url=any_database)


@pytest.mark.parametrize(
    ("options", "explained"),
    [
        (["--role", "editor"], "--municipality"),
        (["--role", "editor", "--municipality", "112350"], "112356"),
        (["--role", "editor", "--municipality", "富士見市"], "112356"),
        (["--role", "mayor"], "editor"),
        (["--role", "admin", "--expires", "2027-13-01"], "--expires"),
        ([], "--role"),
    ],
)
def test_a_key_that_makes_no_sense_is_not_made(options, explained, any_database: str, refused: Refused):
    said = refused("keys", "create", "--name", "x", *options, database_url=any_database)
    assert explained in said
    assert not KEY.search(said)


def test_the_list_of_keys_tells_which_are_good(any_database: str, here: Here):
    made = {
        name: here("keys", "create", "--name", name, "--role", "admin", *options, database_url=any_database)[
            1
        ]
        for name, options in (
            ("past", ["--expires", "2199-03-31"]),
            ("future", ["--expires", "2199-03-31"]),
            ("lost", []),
        )
    }
    assert here("keys", "revoke", made["lost"].strip(), database_url=any_database)[0] == 0
    with opened(any_database) as database, database.writing() as session:
        past = sa.update(API_KEY).where(API_KEY.c.name == "past")
        session.execute(past.values(expires_at=now() - timedelta(days=1)))
    _, listed, _ = here("keys", "list", database_url=any_database)
    assert [line.split()[-2:] for line in listed.splitlines()[1:]] == [
        ["expired", "past"],
        ["valid", "future"],
        ["revoked", "lost"],
    ]


@pytest.mark.parametrize(
    ("day", "says"), [("2020-03-31", "has passed"), ("31.3.2027", "write it like 2027-03-31")]
)
def test_a_key_does_not_end_before_it_begins(day, says, any_database: str, refused: Refused):
    asked = ["keys", "create", "--name", "政策課", "--role", "admin", "--expires", day]
    assert says in refused(*asked, database_url=any_database)


@pytest.mark.parametrize("name", ["", "二行\nの名前", "\x1b[31m赤"], ids=ascii)
def test_a_name_that_would_spoil_the_list_of_keys_is_refused(name, any_database: str, refused: Refused):
    assert "--name" in refused("keys", "create", "--name", name, "--role", "admin", database_url=any_database)


# ---------------------------------------------------------------------------------------------------------
# Settings


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("pool_size", "0"),
        ("pool_size", "many"),
        ("busy_timeout", "-1"),
        ("log_level", "loud"),
        ("cors_origins", "https://example.jp"),
        ("max_body_bytes", "1"),
        ("database_url", "shinchoku.db"),
        ("database_url", "mysql://localhost/shinchoku"),
        ("database_url", "sqlite://"),
        ("database_url", "postgresql://localhost:port/shinchoku"),
        ("read_database_url", "sqlite:///copy.db"),
        ("statement_timeout", "-1"),
    ],
)
def test_a_setting_with_a_wrong_value_is_explained(name, value, any_database: str, refused: Refused):
    said = refused("keys", "list", **{"database_url": any_database, name: value})
    assert f"SHINCHOKU_{name.upper()}" in said


def test_a_file_that_is_no_database_is_explained(tmp_path: Path, refused: Refused):
    (tmp_path / "notes.db").write_text("進捗" * 1000)
    for command in (["migrate"], ["keys", "list"]):
        assert "file is not a database" in refused(*command, database_url=f"sqlite:///{tmp_path}/notes.db")


def test_a_database_that_is_away_is_explained(tmp_path: Path, refused: Refused):
    for url in (f"sqlite:///{tmp_path}/no/such/folder.db", f"postgresql://postgres@/nothing?host={tmp_path}"):
        said = refused("keys", "list", database_url=url)
        assert "cannot be used" in said or "there is no database" in said
        assert url.rpartition("/")[2] in said


def test_a_seed_that_is_not_there_is_explained(any_database: str):
    answer = shinchoku(
        "serve", "--port", str(free_port()), database_url=any_database, seed="/no/such/file.txt"
    )
    assert answer.returncode in (1, 2)
    assert "/no/such/file.txt" in answer.stderr
    assert "Traceback" not in answer.stderr


@pytest.mark.parametrize("arguments", [["import", str(SEED)], ["keys", "list"]])
def test_a_database_that_is_not_migrated_is_explained(arguments, tmp_path: Path, refused: Refused):
    assert "shinchoku migrate" in refused(*arguments, database_url=f"sqlite:///{tmp_path}/new.db")


def test_a_rotated_key_goes_on_for_as_long_as_it_should(town: Service, here: Here):
    url = address_of(town)
    old = town.key("editor", "112356", name="政策課")
    code, out, said = here("keys", "rotate", old[:12], "--overlap", "7", database_url=url)
    new = out.strip()
    assert (code, bool(KEY.fullmatch(new)), "is good until" in said) == (0, True, True)
    assert here("keys", "rotate", new[:12], database_url=url)[2].count("no longer accepted") == 1
    newest = here("keys", "list", database_url=url)[1]
    assert newest.count("政策課") == 3
    section = {"plan": PLAN, "code": "9"}
    for key, status in ((old, 201), (new, 401)):
        with town.holder(key) as holder:
            assert holder.post("/sections", json=section).status_code == status
    assert "no valid key" in here("keys", "rotate", new[:12], database_url=url)[2]


def test_marks_that_no_scale_can_hold_are_refused_also_in_a_new_plan(
    migrated: str, here: Here, document: Path
):
    for mark in ("none", "A,B"):
        document.write_bytes(SEED.read_bytes().replace(b"\tA\t", f"\t{mark}\t".encode(), 1))
        code, out, said = here("import", document, database_url=migrated)
        assert (code, out, "may hold no comma and not be none" in said) == (1, "", True)


def test_a_copy_is_not_imported_into_and_the_reason_is_told(town: Service, any_database: str, here: Here):
    assert here("mirror", str(town.anyone.base_url), "--once", database_url=any_database)[0] == 0
    code, _, said = here("import", SEED, database_url=any_database)
    assert (code, "read-only here" in said) == (1, True)


def test_a_database_that_is_not_in_utf_8_is_refused(backend: Backend, here: Here):
    if backend._server is None:
        return
    name = f"ascii_{backend._made}"
    make = "CREATE DATABASE {} ENCODING 'SQL_ASCII' TEMPLATE template0 LC_COLLATE 'C' LC_CTYPE 'C'"
    backend._server.execute(SQL(make).format(Identifier(name)))
    code, _, said = here("migrate", database_url=backend._server.url(name))
    assert (code, "must be one in UTF-8" in said) == (1, True)
    backend._server.drop_database(name)


def test_the_command_tells_its_version(here: Here):
    code, out, _ = here("--version")
    assert (code, bool(re.fullmatch(r"shinchoku [0-9.]+\n", out))) == (0, True)
