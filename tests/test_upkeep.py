"""What keeps a database well: doctor, backup, restore, compact."""

import sqlite3
from collections.abc import Callable
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from random import Random

import httpx
import pytest
import sqlalchemy as sa

import app.changes
from app.backups import back_up
from app.changes import remove, save
from app.kit import migrations, search
from app.models import CHANGE, EVALUATION, MEASURE, Measure, Plan, Section, now
from app.models import PLAN as PLAN_TABLE
from tests.conftest import FUJIMI, Backend, Here, Service, opened, running
from tests.test_changes import write_at_random
from tests.test_feed import end_of, got, next_of, refusal

PLAN = "fujimi-yumetsunagu"
ANY = {"If-Match": "*"}


def address_of(service: Service) -> str:
    return service.database.engine.url.render_as_string(hide_password=False)


def digest(service: Service) -> str:
    found: str = service.anyone.get("/changes/digest").json()["digest"]
    return found


# ---------------------------------------------------------------------------------------------------------
# doctor


def test_the_doctor_finds_nothing_after_whatever_was_written(town: Service, admin: httpx.Client, here: Here):
    write_at_random(admin, Random(2), 120)
    short = {"plan": "fujimi-yumetsunagu", "section": "1", "code": "77", "title": "道"}  # without a pair
    assert admin.post("/measures", json=short).status_code == 201
    code, said, _ = here("doctor", database_url=address_of(town))
    assert (code, "OFF" in said) == (0, False)
    assert said.count("\nok ") == 9
    assert f"at revision {town.state().seq}, epoch {town.state().epoch}" in said


DAMAGES = {
    "a row changed past the log": (
        "UPDATE evaluation SET rationale = '別' WHERE id = 3",
        "evaluation fujimi-yumetsunagu/1-1-3/2017/1 is not what change",
        "rationale",
    ),
    "a row removed past the log": ("DELETE FROM evaluation WHERE id = 4", "evaluation", "is missing"),
    "a row made past the log": (
        "INSERT INTO section (plan_id, code, code_order, version, created_at, updated_at) "
        "SELECT plan_id, '9', '019 9', 1, created_at, updated_at FROM section WHERE id = 1",
        "section fujimi-yumetsunagu/9 has no entry",
    ),
    "a change lost": ("DELETE FROM change WHERE seq = 30", "after change 29 comes 31"),
    "the first change lost": ("DELETE FROM change WHERE seq = 1", "begin at 2 and not at 1"),
    "a revision ahead": ("UPDATE feed SET seq = 99", "the last change is 56, the revision 99"),
    "a revision behind": ("UPDATE feed SET seq = 50", "the last change is 56, the revision 50"),
    "a horizon ahead": ("UPDATE feed SET horizon = 60", "the horizon 60 lies beyond"),
    "no epoch": ("UPDATE feed SET epoch = ''", "the database has no epoch"),
    "another version": ("UPDATE measure SET version = 7 WHERE id = 2", "measure", ": version"),
    "a removal of a row that is there": (
        "UPDATE change SET op = 'delete', data = NULL WHERE seq = 40",
        "was removed by change 40 and is there",
    ),
    "a change about another row": ("UPDATE change SET entity_id = 99 WHERE seq = 41", "is about another row"),
    "a stale index of search": (
        "UPDATE evaluation SET folded = 'x' WHERE id = 5",
        "folded does not follow",
    ),
    "a row that is listed under another section": (
        "UPDATE evaluation SET section = '9' WHERE id = 5",
        "section does not follow",
    ),
    "a tally that is off": (
        "UPDATE tally SET n = n + 1 WHERE rating = 'B'",
        "fujimi-yumetsunagu/4 2017 B: 3 were counted, and 2 are there",
    ),
    "a tally of all plans that is off": (
        "UPDATE tally SET n = 1 WHERE plan = '' AND rating = 'B'",
        "all plans 2017 B: 1 were counted, and 9 are there",
    ),
    "a section of another plan": (
        "UPDATE measure SET section_id = (SELECT max(id) FROM section) WHERE id = 1",
        "points at a row of another plan",
    ),
    "another file": ("UPDATE document SET size = 7", "is not the file"),
    "a removal that tells a row": (
        "UPDATE change SET op = 'delete' WHERE seq = 42",
        "change 42 contradicts itself",
    ),
    "a change in another plan": (
        "UPDATE change SET plan = 'x' WHERE seq = 43",
        "change 43 contradicts itself",
    ),
    "a change that is no JSON": ("UPDATE change SET data = '{' WHERE seq = 44", "no JSON object"),
}


@pytest.mark.parametrize("most", [1, 3, 20_000])
def test_tallies_follow_a_write_of_any_size(
    most: int, backend: Backend, here: Here, monkeypatch: pytest.MonkeyPatch
):
    """Also one that takes numbers before its end."""
    monkeypatch.setattr(app.changes, "MOST_NOTES", most)
    url = backend.seeded()
    with opened(url) as database:
        with database.writing() as session:
            remove(
                session, Measure, session.scalars(sa.select(MEASURE.c.id).where(MEASURE.c.code < "4")).all()
            )
        with database.writing() as session:  # of which nothing is left
            remove(session, Measure, session.scalars(sa.select(MEASURE.c.id)).all())
            session.rollback()
    code, said, _ = here("doctor", database_url=url)
    assert (code, "OFF" in said) == (0, False)
    backend.drop(url)


@pytest.mark.parametrize("damage", DAMAGES)
def test_the_doctor_finds(damage: str, backend: Backend, here: Here):
    statement, *expected = DAMAGES[damage]
    url = backend.seeded()
    with opened(url) as database:
        if "another plan" in damage:
            with database.writing() as session:
                plan = {
                    "slug": "other",
                    "title": "計画",
                    "municipality_code": FUJIMI,
                    "municipality": "富士見市",
                }
                [id] = save(session, Plan, [plan]).ids
                save(session, Section, [{"plan_id": id, "code": "1"}])
        with database.writing() as session:
            session.execute(sa.text(statement))
    code, said, explained = here("doctor", database_url=url)
    assert (code, "OFF" in said) == (1, True)
    for words in expected:
        assert words in said
    assert "restore a backup" in explained
    backend.drop(url)


def test_the_doctor_finds_rows_that_a_search_would_miss(backend: Backend, here: Here):
    url = backend.seeded()
    with opened(url) as database, database.writing() as session:
        text = session.scalar(sa.select(EVALUATION.c.folded).where(EVALUATION.c.id == 7))
        search.follow(session, EVALUATION, [({"id": 7, "folded": text}, None)])
    code, said, _ = here("doctor", database_url=url)
    assert code == 1
    assert "evaluation 7 would be missed by a search" in said
    backend.drop(url)


def test_the_doctor_finds_a_reference_that_leads_nowhere(tmp_path: Path, backend: Backend, here: Here):
    url = backend.seeded()
    with opened(url) as database, database.engine.connect() as connection:  # the database itself would refuse
        if database.sqlite:
            connection.exec_driver_sql("PRAGMA foreign_keys=OFF")
            connection.rollback()
            connection.connection.execute("PRAGMA foreign_keys=OFF")
        else:
            connection.exec_driver_sql(
                "ALTER TABLE evaluation DROP CONSTRAINT fk_evaluation_measure_id_measure"
            )
        connection.execute(sa.text("UPDATE evaluation SET measure_id = 99 WHERE id = 6"))
        connection.commit()
    code, said, _ = here("doctor", database_url=url)
    assert code == 1
    assert "evaluation 6: its measure_id leads nowhere" in said
    assert "evaluation 6 has no plan or no other parent" in said
    backend.drop(url)


def test_the_doctor_tells_what_is_a_copy_from_where(town: Service, here: Here, tmp_path: Path):
    url = f"sqlite:///{tmp_path}/copy.db"
    with opened(url) as database:
        migrations.upgrade(database)
    source = str(town.anyone.base_url).rstrip("/")
    assert here("mirror", source, "--once", database_url=url)[0] == 0
    code, said, _ = here("doctor", database_url=url)
    assert code == 0
    assert f"keeps a copy of {source}, up to its revision 56" in said


# ---------------------------------------------------------------------------------------------------------
# backup, restore


def test_a_backup_is_restored_into_a_new_life(town: Service, admin: httpx.Client, here: Here, tmp_path: Path):
    file, url = tmp_path / "backup", address_of(town)
    write_at_random(admin, Random(7), 40)
    saved, before, cursor = digest(town), town.state(), end_of(town.anyone)
    code, said, _ = here("backup", file, database_url=url)
    assert code == 0
    assert f"{file.stat().st_size:,} bytes" in said
    write_at_random(admin, Random(8), 40)
    assert digest(town) != saved

    code, said, _ = here("restore", file, database_url=url)  # while the service runs
    assert code == 0
    assert digest(town) == saved
    after = town.state()
    assert (after.seq, after.epoch == before.epoch) == (before.seq, False)
    assert after.epoch in said
    assert "revoke again" in said
    assert refusal(town.anyone, cursor) == (410, "gone")
    assert here("doctor", database_url=url)[0] == 0
    assert admin.patch("/plans/1", json={"licence": "CC0"}, headers=ANY).status_code == 200


def test_a_backup_makes_a_database_where_there_is_none(backend: Backend, here: Here, tmp_path: Path):
    file, old, new = tmp_path / "backup", backend.seeded(), backend.empty()
    assert here("backup", file, database_url=old)[0] == 0
    assert here("restore", file, database_url=new)[0] == 0
    with running(new) as service:
        assert service.anyone.get("/evaluations?limit=1").json()["metadata"]["resultset"]["count"] == 26
    for url in (old, new):
        backend.drop(url)


def test_a_backup_of_an_earlier_form_is_brought_to_the_newest(backend: Backend, here: Here, tmp_path: Path):
    file, url = tmp_path / "backup", backend.seeded()
    with opened(url) as database:
        migrations.downgrade(database, "0001")
        back_up(database, file)  # which the command of those days would have done
        migrations.upgrade(database)
    assert here("restore", file, database_url=url)[0] == 0
    assert here("doctor", database_url=url)[0] == 0
    backend.drop(url)


@pytest.mark.parametrize("logged", [False, True], ids=["new", "old"])
def test_a_backup_is_one_file_and_is_read_without_another_beside_it(
    logged: bool, sqlite: Backend, here: Here, tmp_path: Path
):
    """As from a folder in which nobody may write; those of earlier versions say that they have a log (WAL)."""
    file, url = tmp_path / "backup", sqlite.seeded()
    assert here("backup", file, database_url=url)[0] == 0
    assert file.read_bytes()[18:20] == b"\x01\x01"
    if logged:
        with closing(sqlite3.connect(file)) as connection:
            connection.execute("PRAGMA journal_mode=WAL")
        assert file.read_bytes()[18:20] == b"\x02\x02"
    beside = [file, tmp_path / "backup-shm", tmp_path / "backup-wal"]
    assert [each.exists() for each in beside] == [True, False, False]
    code, _, said = here("restore", file, database_url=url)
    assert (code, said) == (0, "")
    assert [each.exists() for each in beside] == [True, False, False]
    beside[1].mkdir()  # so that even an administrator can make no file there
    assert here("restore", file, database_url=url)[0] == 0
    assert here("doctor", database_url=url)[0] == 0
    sqlite.drop(url)


def test_what_stands_in_the_log_of_a_file_in_use_is_restored_as_well(
    sqlite: Backend, here: Here, tmp_path: Path
):
    file, url = tmp_path / "backup", sqlite.seeded()
    assert here("backup", file, database_url=url)[0] == 0
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("UPDATE plan SET title = 'in the log'")
        connection.commit()
        assert b"in the log" not in file.read_bytes()
        assert here("restore", file, database_url=url)[0] == 0
    with opened(url) as database, database.reading() as session:
        assert session.execute(sa.select(PLAN_TABLE.c.title)).scalars().one() == "in the log"
    sqlite.drop(url)


def test_a_backup_overwrites_nothing(town: Service, here: Here, tmp_path: Path):
    file = tmp_path / "backup"
    file.write_text("mine")
    code, _, said = here("backup", file, database_url=address_of(town))
    assert (code, file.read_text()) == (1, "mine")
    assert "is there already" in said
    code, _, said = here("backup", tmp_path / "no" / "folder", database_url=address_of(town))
    assert (code, "No such file" in said) == (1, True)
    assert list(tmp_path.iterdir()) == [file]


def not_ours(folder: Path) -> Path:
    file = folder / "other.db"
    with closing(sqlite3.connect(file)) as other:
        other.execute("CREATE TABLE t (x)")
    return file


@pytest.mark.parametrize(
    "make",
    [
        lambda folder: folder / "missing",
        lambda folder: folder,
        lambda folder: (folder / "text").write_text("これは違う") and folder / "text",
        lambda folder: (folder / "nothing").touch() or folder / "nothing",
        not_ours,
    ],
    ids=["missing", "a folder", "a text", "empty", "another database"],
)
def test_what_is_no_backup_is_refused_and_changes_nothing(
    make: Callable[[Path], Path], town: Service, here: Here, tmp_path: Path
):
    before, saved = town.state(), digest(town)
    code, _, said = here("restore", make(tmp_path), database_url=address_of(town))
    assert code == 1
    assert said.startswith("shinchoku: ")
    assert "Traceback" not in said
    assert (town.state(), digest(town)) == (before, saved)


def test_without_the_tools_of_postgresql_there_is_no_backup_but_a_word(
    town: Service, here: Here, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("PATH", str(tmp_path))
    code, _, said = here("backup", tmp_path / "backup", database_url=address_of(town))
    if town.database.sqlite:
        assert code == 0
    else:
        assert (code, "pg_dump of PostgreSQL is needed" in said) == (1, True)


# ---------------------------------------------------------------------------------------------------------
# compact


def test_old_changes_are_forgotten_and_nothing_else(town: Service, admin: httpx.Client, here: Here):
    write_at_random(admin, Random(3), 120)
    admin.delete("/sections/2", headers=ANY)
    before, saved, last = end_of(town.anyone), digest(town), town.state().seq
    old = next_of(got(town.anyone, "/changes", limit=last - 21))
    kept = next_of(got(town.anyone, "/changes", limit=last - 20))
    listed = town.anyone.get("/plans/1/history")

    code, said, _ = here("compact", "--keep-changes", "20", database_url=address_of(town))
    assert code == 0
    assert f"answers from {last - 20} on" in said
    assert (digest(town), town.state().seq, town.state().horizon) == (saved, last, last - 20)
    assert got(town.anyone, "/changes", after=before)["results"] == []
    assert len(got(town.anyone, "/changes", after=kept)["results"]) == 20
    assert refusal(town.anyone, old) == (410, "gone")
    assert town.anyone.get("/changes").status_code == 410
    again = town.anyone.get("/plans/1/history", headers={"If-None-Match": listed.headers["ETag"]})
    assert again.status_code == 200  # what it shows is another thing now, though the revision is the same
    assert here("doctor", database_url=address_of(town))[0] == 0
    code, said, _ = here("compact", "--keep-changes", "20", database_url=address_of(town))
    assert (code, said.startswith("0 changes")) == (0, True)


def test_a_key_that_is_made_again_after_all_was_forgotten_counts_on(
    town: Service, admin: httpx.Client, here: Here
):
    section = {"plan": PLAN, "code": "9"}
    made = admin.post("/sections", json=section)
    admin.delete(made.headers["Location"], headers=ANY)
    here("compact", "--keep-changes", "0", database_url=address_of(town))
    assert admin.post("/sections", json=section).json()["version"] == 3
    assert here("doctor", database_url=address_of(town))[0] == 0


def test_changes_of_the_last_days_are_kept(town: Service, admin: httpx.Client, here: Here):
    with town.database.writing() as session:
        week_ago = now() - timedelta(days=7)
        session.execute(sa.update(CHANGE).where(CHANGE.c.seq <= 40).values(at=week_ago))
    here("compact", "--keep-changes", "3d", database_url=address_of(town))
    assert town.state().horizon == 40
    here("compact", "--keep-changes", "0d", database_url=address_of(town))
    assert town.state().horizon == 56


@pytest.mark.parametrize("keep", ["", "x", "-1", "3w", "1.5", "d"])
def test_what_is_no_amount_is_refused(keep: str, town: Service, here: Here):
    code, _, said = here("compact", "--keep-changes", keep, database_url=address_of(town))
    assert code == 2
    assert "--keep-changes" in said


def test_a_mirror_that_comes_too_late_begins_anew(
    backend: Backend, town: Service, admin: httpx.Client, here: Here
):
    copy = backend.empty()
    with opened(copy) as database:
        migrations.upgrade(database)
    source = str(town.anyone.base_url).rstrip("/")
    assert here("mirror", source, "--once", database_url=copy)[0] == 0
    admin.delete("/sections/1", headers=ANY)
    admin.patch("/sections/2", json={"title": "題"}, headers=ANY)
    here("compact", "--keep-changes", "0", database_url=address_of(town))
    code, said, _ = here("mirror", source, "--once", database_url=copy)
    assert (code, "taking a new snapshot" in said) == (0, True)
    with running(copy) as service:
        assert digest(service) == digest(town)
    backend.drop(copy)
