"""The tables are what the models say, on a new database as on an old one, and keep what they hold."""

import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from textwrap import dedent, indent
from typing import Any

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlmodel import SQLModel

from app.changes import remove, save
from app.cli import beside
from app.documents.importing import import_document
from app.documents.told import Told
from app.kit import migrations
from app.kit.database import Database
from app.kit.settings import ROOT
from app.models import EVALUATION, FEED, Plan
from tests.conftest import SEED, Backend, Service, opened, running

REVISIONS = [
    script.revision for script in ScriptDirectory.from_config(migrations.configuration()).walk_revisions()
]


@pytest.fixture
def empty(backend: Backend) -> Iterator[Database]:
    """A database that was just created."""
    url = backend.empty()
    with opened(url) as database:
        yield database
    backend.drop(url)


@pytest.fixture
def seeded(backend: Backend) -> Iterator[Database]:
    url = backend.seeded()
    with opened(url) as database:
        yield database
    backend.drop(url)


def tables(database: Database) -> set[str]:
    found = set(sa.inspect(database.engine).get_table_names()) - {"alembic_version"}
    return {name for name in found if "_pair" not in name}  # the index of searches has tables of its own


def contents(database: Database) -> dict[str, list[Any]]:
    """Every row of every table."""
    with database.engine.connect() as connection:
        found = sa.MetaData()
        found.reflect(connection, only=lambda name, _: "_pair" not in name)
        return {
            name: sorted(map(repr, connection.execute(sa.select(table))))
            for name, table in found.tables.items()
        }


def import_seed(database: Database) -> None:
    with database.writing() as session:
        import_document(session, SEED.read_bytes(), SEED.name, Told.model_validate(beside(SEED)))


# ---------------------------------------------------------------------------------------------------------


def test_a_database_goes_up_and_down_and_up_again_with_its_data(seeded: Database):
    before = tables(seeded)
    assert before == set(SQLModel.metadata.tables)
    migrations.downgrade(seeded, "base")
    assert tables(seeded) == set()
    migrations.upgrade(seeded)
    assert tables(seeded) == before
    import_seed(seeded)
    with seeded.reading() as session:
        assert session.scalar(sa.select(sa.func.count()).select_from(EVALUATION)) == 26
        assert session.scalar(sa.select(sa.func.max(EVALUATION.c.id))) == 26


@pytest.mark.parametrize("revision", REVISIONS)
def test_each_step_can_be_undone_and_done_again(revision, empty: Database):
    migrations.upgrade(empty, revision)
    there = tables(empty)
    migrations.downgrade(empty, "-1")
    migrations.upgrade(empty, revision)
    assert tables(empty) == there


def test_what_is_undone_and_done_again_still_knows_which_ids_it_gave_out(seeded: Database):
    plan = {"slug": "gone", "title": "計画", "municipality_code": "112011", "municipality": "川越市"}
    with seeded.writing() as session:
        [last] = save(session, Plan, [plan]).ids
        remove(session, Plan, [last])
    for _ in REVISIONS[:-1]:
        migrations.downgrade(seeded, "-1")
    migrations.upgrade(seeded)
    with seeded.writing() as session:
        assert save(session, Plan, [plan | {"slug": "next"}]).ids > [last]


def test_migrating_what_is_migrated_changes_nothing(seeded: Database):
    before = contents(seeded)
    migrations.upgrade(seeded)
    assert contents(seeded) == before


def test_every_database_begins_a_life_of_its_own(backend: Backend, empty: Database):
    migrations.upgrade(empty)
    with empty.reading() as session:
        first = session.execute(sa.select(FEED)).one()
    migrations.downgrade(empty, "base")
    migrations.upgrade(empty)
    with empty.reading() as session:
        second = session.execute(sa.select(FEED)).one()
    assert (first.seq, second.seq) == (0, 0)
    assert first.epoch != second.epoch


# ---------------------------------------------------------------------------------------------------------
# Models and migrations


def test_alembic_finds_nothing_that_the_migrations_forgot(empty: Database):
    migrations.upgrade(empty)
    command.check(migrations.configuration(empty))


def described(database: Database) -> dict[str, Any]:
    """The schema in all that we can see of it."""
    found = sa.inspect(database.engine)

    def plain(value: Any) -> Any:
        if isinstance(value, dict):
            return sorted((name, plain(inner)) for name, inner in value.items())
        return str(value)

    def told(things: Any) -> list[str]:
        return sorted(repr(plain(thing)) for thing in things)

    schema: dict[str, Any] = {
        table: {
            "columns": told(found.get_columns(table)),
            "primary key": told([found.get_pk_constraint(table)]),
            "foreign keys": told(found.get_foreign_keys(table)),
            "unique": told(found.get_unique_constraints(table)),
            "checks": told(found.get_check_constraints(table)),
            "indexes": told(found.get_indexes(table)),
        }
        for table in tables(database)
    }
    if database.sqlite:  # an id is used again where this word is missing
        with database.engine.connect() as connection:
            statements = connection.exec_driver_sql(
                "SELECT name, sql FROM sqlite_master WHERE type = 'table'"
            )
            for name, statement in statements.all():
                if name in schema:
                    schema[name]["ids"] = "AUTOINCREMENT" in statement
    return schema


def test_migrated_tables_are_those_that_the_models_would_make(backend: Backend, empty: Database):
    migrations.upgrade(empty)
    url = backend.empty()
    with opened(url) as modelled:
        SQLModel.metadata.create_all(modelled.engine)
        assert described(empty) == described(modelled)
    backend.drop(url)


def test_every_constraint_and_index_has_a_name_that_tells_its_table(empty: Database):
    migrations.upgrade(empty)
    found = sa.inspect(empty.engine)
    for table in tables(empty):
        named = [
            ("pk", [] if empty.sqlite else [found.get_pk_constraint(table)]),  # SQLite numbers under no name
            ("fk", found.get_foreign_keys(table)),
            ("uq", found.get_unique_constraints(table)),
            ("ck", found.get_check_constraints(table)),
            ("ix", [index for index in found.get_indexes(table) if not index.get("duplicates_constraint")]),
        ]
        for kind, things in named:
            for thing in things:
                assert re.fullmatch(f"{kind}_{table}(_(?!{kind}_)[a-z0-9_]+)?", str(thing["name"])), thing


# ---------------------------------------------------------------------------------------------------------
# What the database itself refuses

WRONG = {
    "section": "INSERT INTO section (plan_id, code, code_order, version, created_at, updated_at) "
    "VALUES (999, 'x', 'x', 1, CURRENT_TIMESTAMP, CURRENT_TIMESTAMP)",
    "measure": "INSERT INTO measure (plan_id, section_id, code, code_order, title, path, folded, version, "
    "created_at, updated_at) VALUES (1, 999, 'x', 'x', 'x', '[]', 'x', 1, CURRENT_TIMESTAMP, CURRENT_TIMESTAMP)",
    "evaluation": "INSERT INTO evaluation (measure_id, fiscal_year, ordinal, extra, folded, version, created_at, "
    "updated_at) VALUES (999, 2017, 1, '{}', 'x', 1, CURRENT_TIMESTAMP, CURRENT_TIMESTAMP)",
    "document": "UPDATE evaluation SET document_id = 999",
    "plan with sections": "DELETE FROM plan",
    "measure with evaluations": "DELETE FROM measure",
    "second feed": "INSERT INTO feed (id, epoch, seq) VALUES (2, 'x', 0)",
    "second evaluation of the same key": "UPDATE evaluation SET ordinal = 1",
    "second plan of the same slug": "INSERT INTO plan (slug, title, municipality_code, municipality, ratings, "
    "ratings_closed, folded, version, created_at, updated_at) VALUES ('fujimi-yumetsunagu', 'x', '112356', 'x', "
    "'[]', FALSE, 'x', 1, CURRENT_TIMESTAMP, CURRENT_TIMESTAMP)",
    "editor of nowhere": "INSERT INTO api_key (id, name, role, secret_sha256, created_at) "
    "VALUES ('x', 'x', 'editor', 'x', CURRENT_TIMESTAMP)",
}


@pytest.mark.parametrize("what", WRONG)
def test_the_database_itself_refuses(what, seeded: Database):
    with pytest.raises(sa.exc.IntegrityError), seeded.engine.begin() as connection:
        connection.exec_driver_sql(WRONG[what])


def test_foreign_keys_hold_on_the_very_connection_that_has_migrated(empty: Database):
    migrations.upgrade(empty)
    with pytest.raises(sa.exc.IntegrityError), empty.engine.begin() as connection:
        connection.exec_driver_sql(WRONG["section"])


# ---------------------------------------------------------------------------------------------------------
# Migrations to come


def with_one_more(folder: Path, database: Database, upgrade: str) -> Config:
    """The migrations, and after them one with these statements."""
    scripts = folder / "migrations"
    shutil.copytree(ROOT / "migrations", scripts, ignore=shutil.ignore_patterns("__pycache__"))
    written = indent(dedent(upgrade).strip(), "    ")
    (scripts / "versions" / "next.py").write_text(
        "import sqlalchemy as sa\nfrom alembic import op\n"
        f"revision, down_revision = 'next', '{migrations.newest()}'\n"
        f"def upgrade():\n{written}\n"
        "def downgrade():\n    pass\n"
    )
    config = migrations.configuration(database)
    config.set_main_option("script_location", str(scripts))
    return config


REBUILD = """
    for table in ("plan", "section", "measure"):
        with op.batch_alter_table(table, recreate="auto") as batch:
            batch.alter_column("title", existing_type=sa.Text(), comment="rebuilt")
            batch.add_column(sa.Column("added", sa.Text()))
"""


def test_rebuilding_a_table_keeps_what_stands_below_it(seeded: Database, tmp_path: Path):
    before = contents(seeded)
    command.upgrade(with_one_more(tmp_path, seeded, REBUILD), "head")
    after = contents(seeded)
    assert {name: len(rows) for name, rows in after.items()} == {
        name: len(rows) for name, rows in before.items()
    }
    kept = ("evaluation", "document", "change", "feed")
    assert {name: after[name] for name in kept} == {name: before[name] for name in kept}
    with pytest.raises(sa.exc.IntegrityError), seeded.engine.begin() as connection:
        connection.exec_driver_sql("DELETE FROM plan")


@pytest.mark.parametrize(
    "upgrade",
    [
        """
        op.add_column("plan", sa.Column("added", sa.Text()))
        raise RuntimeError("something is wrong")
        """,
        """
        op.add_column("plan", sa.Column("added", sa.Text()))
        op.execute("DELETE FROM measure")
        """,
    ],
    ids=["breaks off", "leaves orphans"],
)
def test_a_migration_that_goes_wrong_leaves_the_database_as_it_was(upgrade, seeded: Database, tmp_path: Path):
    before, schema = contents(seeded), described(seeded)
    with pytest.raises((RuntimeError, sa.exc.IntegrityError)):
        command.upgrade(with_one_more(tmp_path, seeded, upgrade), "head")
    assert (contents(seeded), described(seeded)) == (before, schema)
    with seeded.reading() as session:
        assert migrations.current(session) == migrations.newest()
    with pytest.raises(sa.exc.IntegrityError), seeded.engine.begin() as connection:
        connection.exec_driver_sql("DELETE FROM plan")


# ---------------------------------------------------------------------------------------------------------
# Readiness


@pytest.fixture
def bare(backend: Backend) -> Iterator[Service]:
    """A service on a database that nobody has migrated yet."""
    url = backend.empty()
    with running(url) as service:
        yield service
    backend.drop(url)


def test_the_service_is_ready_once_its_database_is_migrated(bare: Service):
    def status() -> list[int]:
        return [bare.anyone.get(path).status_code for path in ("/livez", "/readyz", "/plans")]

    assert status()[:2] == [200, 503]
    migrations.upgrade(bare.database)
    assert status() == [200, 200, 200]
    assert bare.anyone.get("/readyz").json() == {"status": "ok", "revision": 0}
    migrations.downgrade(bare.database, "base")
    assert status()[:2] == [200, 503]


def test_a_service_that_is_not_ready_says_what_to_do(bare: Service):
    answer = bare.anyone.get("/readyz", headers={"Accept-Language": "en"})
    assert answer.json() == {
        "type": "/docs/problems/unavailable",
        "title": "Please try again in a moment",
        "status": 503,
        "detail": "The database is not in its newest form. Run: shinchoku migrate",
        "instance": "/readyz",
    }
    assert int(answer.headers["retry-after"]) > 0
    assert answer.headers["cache-control"] == "no-store"


def test_before_the_migration_every_address_asks_for_patience(bare: Service):
    paths = ("/plans", "/evaluations/1", "/evaluations/summary", "/plans/1/history")
    assert {path: bare.anyone.get(path).status_code for path in paths} == dict.fromkeys(paths, 503)


def test_a_service_whose_database_is_away_lives_but_is_not_ready(backend: Backend, tmp_path: Path):
    url = {
        "sqlite": f"sqlite:///{tmp_path}/no/such/folder/shinchoku.db",
        "postgresql": f"postgresql+psycopg://postgres@/nothing?host={tmp_path}",
    }
    with running(url[backend.name]) as service:
        status = [service.anyone.get(path).status_code for path in ("/livez", "/readyz", "/plans")]
    assert status == [200, 503, 503]


def test_an_empty_database_answers_with_empty_lists(bare: Service):
    migrations.upgrade(bare.database)
    for noun in ("plans", "sections", "measures", "evaluations", "documents"):
        assert bare.anyone.get(f"/{noun}").json() == {
            "metadata": {"resultset": {"count": 0, "limit": 100, "next": None}, "revision": 0},
            "results": [],
        }
