"""The `shinchoku` command: serve, migrate, import, mirror, doctor, backup, restore, compact, keys."""

import argparse
import logging.config
import os
import re
import socket
import sys
import tomllib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import Any

import psycopg
import sqlalchemy as sa
import uvicorn
from pydantic import ValidationError
from pydantic_core import PydanticCustomError
from pydantic_settings import SettingsError
from sqlmodel import Session

from app import municipalities
from app.backups import Unusable, back_up, restore
from app.changes import SOFTWARE, compact
from app.doctor import examine
from app.documents.importing import Refused, Told, import_document
from app.kit import keys, logs, migrations
from app.kit.database import Database
from app.kit.errors import Problem
from app.kit.http import Protocol
from app.kit.settings import Settings
from app.mirror import Collision, Mirror, Source, Unanswered
from app.models import API_KEY, CHANGE, FEED, SOURCE, Role, now

log = logging.getLogger("shinchoku")


class Stop(Exception):
    """Something is wrong that the person at the terminal can put right."""


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    try:
        settings = _settings()
    except Stop as stop:
        print(f"shinchoku: {stop}", file=sys.stderr)
        return 1
    try:
        run: Callable[[argparse.Namespace, Settings], None] = options.run
        run(options, settings)
    except (Stop, Unusable) as stop:
        print(f"shinchoku: {stop}", file=sys.stderr)
        return 1
    except sa.exc.IntegrityError:
        print("shinchoku: somebody wrote the same at the same moment; try again", file=sys.stderr)
        return 1
    except (sa.exc.DBAPIError, psycopg.Error) as error:
        where = sa.make_url(settings.database_url).render_as_string(hide_password=True)
        reason = getattr(error, "orig", error)
        print(f"shinchoku: the database {where} cannot be used: {reason}", file=sys.stderr)
        return 1
    return 0


def _settings() -> Settings:
    try:
        return Settings()
    except ValidationError as error:
        raise Stop(
            "; ".join(f"{_variable(found['loc'][0])}: {found['msg']}" for found in error.errors())
        ) from None
    except SettingsError:
        # The one setting that is a list is the one that can fail before it is checked.
        raise Stop(
            f'{_variable("cors_origins")}: write a JSON list, such as ["https://example.jp"]'
        ) from None


def _variable(setting: object) -> str:
    return f"SHINCHOKU_{setting}".upper()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="shinchoku", description="Open, queryable progress of public plans (進捗)"
    )
    parser.add_argument("--version", action="version", version=f"shinchoku {SOFTWARE}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    serve = commands.add_parser(
        "serve", help="answer over HTTP; an empty database is filled with the seed first"
    )
    serve.add_argument("--host", default="127.0.0.1")
    serve.add_argument("--port", type=_port, default=8000)
    serve.add_argument("--workers", type=_workers, default=1, help="processes that answer side by side")
    serve.set_defaults(run=_serve)

    migrate = commands.add_parser("migrate", help="bring the database to its newest form")
    migrate.set_defaults(run=_migrate)

    importing = commands.add_parser(
        "import", help="read a document; what it does not say stands in a .toml beside it"
    )
    importing.add_argument("file", type=Path)
    importing.add_argument("--plan", help="slug of the plan")
    importing.add_argument("--municipality-code", help="to make a plan that does not exist yet")
    importing.add_argument("--municipality", help="its name")
    importing.add_argument("--encoding", help="when it is not recognised, such as cp932")
    importing.set_defaults(run=_import)

    mirror = commands.add_parser("mirror", help="keep a copy of another Shinchoku here, for ever")
    mirror.add_argument("url", help="its address, such as https://shinchoku.example.jp")
    mirror.add_argument("--municipality", help="municipality code: copy its plans only")
    how = mirror.add_mutually_exclusive_group()
    how.add_argument("--once", action="store_true", help="end when the copy is equal")
    how.add_argument("--forget", action="store_true", help="remove the copy and what it knows of its source")
    mirror.set_defaults(run=_mirror)

    doctor = commands.add_parser("doctor", help="hold the log against the tables, and tell what is off")
    doctor.set_defaults(run=_doctor)

    backup = commands.add_parser("backup", help="write the database to a file, while others write")
    backup.add_argument("file", type=Path)
    backup.set_defaults(run=_backup)

    restoring = commands.add_parser("restore", help="make the database what a backup says")
    restoring.add_argument("file", type=Path)
    restoring.set_defaults(run=_restore)

    compacting = commands.add_parser("compact", help="forget old changes; the rows stay as they are")
    compacting.add_argument(
        "--keep-changes",
        required=True,
        type=_changes_to_keep,
        metavar="N|DAYS",
        help="how many of the latest changes stay, such as 100000, or those of how many days, such as 90d",
    )
    compacting.set_defaults(run=_compact)

    about_keys = commands.add_parser("keys", help="who may write").add_subparsers(
        required=True, metavar="COMMAND"
    )
    create = about_keys.add_parser("create", help="make a key; it is shown once, alone on the last line")
    create.add_argument("--name", required=True, type=_name, help="whose key it is, such as a department")
    create.add_argument("--role", choices=[role.value for role in Role], required=True)
    create.add_argument("--municipality", help="municipality code; an editor writes only there")
    create.add_argument(
        "--expires", type=_day_to_come, help="last day on which it is valid (UTC), YYYY-MM-DD"
    )
    create.set_defaults(run=_create_key)
    about_keys.add_parser("list", help="all keys, without their secrets").set_defaults(run=_list_keys)
    rotate = about_keys.add_parser("rotate", help="make a new key for the holder of one, which then ends")
    rotate.add_argument("id", help="as `keys list` shows it: the eight characters after shk_")
    rotate.add_argument(
        "--overlap",
        type=_days,
        default=0,
        help="days for which the old one stays good, such as 7; none if left out",
    )
    rotate.set_defaults(run=_rotate_key)
    revoke = about_keys.add_parser("revoke", help="end a key at once")
    revoke.add_argument("id", help="as `keys list` shows it: the eight characters after shk_")
    revoke.set_defaults(run=_revoke_key)
    return parser


def _port(text: str) -> int:
    if not text.isdecimal() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"{text} is not a port: give a number from 0 to 65535")
    return int(text)


def _workers(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 64:
        raise argparse.ArgumentTypeError(f"{text} is not a number of workers: give one from 1 to 64")
    return int(text)


def _day_to_come(text: str) -> date:
    try:
        day = date.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text} is not a day: write it like 2027-03-31") from None
    if day < now().date():
        raise argparse.ArgumentTypeError(f"{text} has passed")
    return day


def _days(text: str) -> int:
    if not text.isdecimal() or int(text) > 366:
        raise argparse.ArgumentTypeError(f"{text} is not a number of days: give one from 0 to 366")
    return int(text)


def _changes_to_keep(text: str) -> tuple[int, bool]:
    """How many, and whether these are days."""
    found = re.fullmatch("([0-9]{1,15})(d?)", text)
    if not found:
        raise argparse.ArgumentTypeError(
            f"{text} is neither a number of changes nor of days: write 100000 or 90d"
        )
    return int(found[1]), bool(found[2])


def _name(text: str) -> str:
    if not text.strip() or not text.isprintable() or len(text) > 100:
        raise argparse.ArgumentTypeError("give one line of 1 to 100 visible characters")
    return text.strip()


@contextmanager
def _database(settings: Settings) -> Iterator[Database]:
    database = Database(settings.database_url, settings.pool_size, settings.busy_timeout)
    try:
        yield database
    finally:
        database.dispose()


@contextmanager
def _migrated(settings: Settings) -> Iterator[Database]:
    with _database(settings) as database:
        where = database.engine.url.render_as_string(hide_password=True)
        if database.sqlite and not Path(str(database.engine.url.database)).exists():
            raise Stop(
                f"there is no database at {where}, seen from {Path.cwd()}; "
                "go to its folder, set SHINCHOKU_DATABASE_URL, or make it with: shinchoku migrate"
            )
        with database.reading() as session:
            if migrations.current(session) != migrations.newest():
                raise Stop(f"the database {where} is not in its newest form; run: shinchoku migrate")
        yield database


# ---------------------------------------------------------------------------------------------------------


def _serve(options: argparse.Namespace, settings: Settings) -> None:
    _refuse_taken_port(options.host, options.port)
    logging.config.dictConfig(logs.configuration(settings.log_level))
    with _migrated(settings) as database, database.writing() as session:
        # A database that has seen a change is not empty, even if all was removed again.
        # Of two servers that start together, the second waits here and finds the seed.
        seq = session.scalar(sa.select(FEED.c.seq).with_for_update())
        if settings.seed and seq == 0:
            report = _import_file(session, _content(settings.seed), settings.seed, _told(settings.seed, {}))
            log.info("seeded", extra={"file": settings.seed.name, "rows": report["rows"]})
    uvicorn.run(
        "app.main:create_app",
        factory=True,
        host=options.host,
        port=options.port,
        workers=options.workers,
        loop="uvloop" if os.name == "posix" else "asyncio",
        http=Protocol,
        access_log=False,
        log_config=logs.configuration(settings.log_level),
        server_header=False,
        timeout_graceful_shutdown=30,
    )


def _refuse_taken_port(host: str, port: int) -> None:
    """The server below would say so too, but only after it has said that it is ready."""
    try:
        family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family) as trial:
            trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            trial.bind(address)
    except OSError as error:
        raise Stop(
            f"{host}:{port} cannot be used: {error.strerror}; take another with --port (or make run PORT=8001)"
        ) from None


def _migrate(options: argparse.Namespace, settings: Settings) -> None:
    with _database(settings) as database:
        if not database.sqlite:
            address = database.engine.url.set(drivername="postgresql").render_as_string(hide_password=False)
            with psycopg.connect(address) as connection:  # SQLAlchemy does not get as far as to ask
                encoding = connection.info.parameter_status("server_encoding")
            if encoding != "UTF8":
                raise Stop(
                    "the database must be one in UTF-8: CREATE DATABASE … ENCODING 'UTF8' TEMPLATE template0"
                )
        migrations.upgrade(database)
    print(f"The database is in its newest form ({migrations.newest()}).")


def _import(options: argparse.Namespace, settings: Settings) -> None:
    given = {
        name: getattr(options, name)
        for name in ("plan", "municipality_code", "municipality", "encoding")
        if getattr(options, name) is not None
    }
    content = _content(options.file)
    told = _told(options.file, given)
    with _migrated(settings) as database, database.writing() as session:
        report = _import_file(session, content, options.file, told)
    print(f"{told.plan}: {report['title']}")
    for what in ("created", "updated", "unchanged"):
        print(
            f"  {what:9}",
            ", ".join(f"{count} {entity}" for entity, count in report[what].items() if count) or "-",
        )
    for kind, codes in report["measures"].items():
        if codes:
            print(f"  measures {kind}: {', '.join(codes)}")
    for warning in report["warnings"]:
        print(f"  {warning['ja']} {warning['en']}")


def _content(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise Stop(f"{file} cannot be read: {error.strerror}") from None


def _told(file: Path, given: dict[str, str]) -> Told:
    """What the document does not say: from the command line, else from the .toml beside it."""
    notes = file.with_suffix(".toml")
    try:
        noted = beside(file)
        if "plan" in noted and given.get("plan", noted["plan"]) != noted["plan"]:
            raise Stop(
                f"{notes} is for the plan {noted['plan']}, and --plan says {given['plan']}: change one of them"
            )
        return Told.model_validate(noted | given)
    except ValidationError as error:
        wrong = "; ".join(f"{found['loc'][0]}: {found['msg']}" for found in error.errors())
        raise Stop(f"{wrong} (tell it with --plan and so on, or in {notes.name} beside the file)") from None
    except ValueError as error:
        raise Stop(f"{notes} cannot be read: {error}") from None


def _import_file(session: Session, content: bytes, file: Path, told: Told) -> dict[str, Any]:
    try:
        return import_document(session, content, file.name, told)
    except Refused as refused:
        count = len(refused.unclear)
        places = "1 place" if count == 1 else f"{count} places"
        lines = [f"{file.name}: {places} not understood; nothing was written"]
        for unclear in refused.unclear:
            place = ", ".join(
                f"{name} {value}"
                for name, value in (("line", unclear.line), ("column", unclear.column))
                if value
            )
            shown = f" [{unclear.text}]" if unclear.text else ""
            lines.append(f"  {place}: {unclear.ja} {unclear.en}{shown}")
        raise Stop("\n".join(lines)) from None
    except Problem as problem:
        says = [found.says for found in problem.findings] or [problem.says]
        raise Stop("\n  ".join(f"{each.ja} {each.en}" for each in says)) from None


def beside(file: Path) -> dict[str, Any]:
    notes = file.with_suffix(".toml")
    return tomllib.loads(notes.read_text("utf-8")) if notes.exists() else {}


def _mirror(options: argparse.Namespace, settings: Settings) -> None:
    if not re.fullmatch(r"https?://[^\s/?#@]+[^\s?#@]*", options.url):
        raise Stop(
            f"{options.url} is not the address of a service: write it like https://shinchoku.example.jp"
        )
    source = Source(options.url.rstrip("/"), _municipality_code(options.municipality))
    with _migrated(settings) as database, Mirror(database, source, _say) as mirror:
        try:
            if options.forget:
                print(f"{source.address}: {mirror.forget()} plans removed; this copy has ended.")
            elif options.once:
                mirror.once()
            else:
                mirror.for_ever()
        except (Unanswered, Collision) as reason:
            raise Stop(f"{source.address}: {reason}") from None
        except KeyboardInterrupt:
            raise Stop("ended; the copy goes on from here next time") from None


def _doctor(options: argparse.Namespace, settings: Settings) -> None:
    wrong = 0
    with _migrated(settings) as database, database.reading() as session:
        feed = session.execute(sa.select(FEED)).first()
        if feed:
            where = database.engine.url.render_as_string(hide_password=True)
            print(
                f"{where} at revision {feed.seq}, epoch {feed.epoch}, changes kept from {feed.horizon + 1} on"
            )
        for source in session.execute(sa.select(SOURCE).order_by(SOURCE.c.address)):
            when = f"{source.synced_at:%Y-%m-%d %H:%M} UTC" if source.synced_at else "never yet"
            reached = f"up to its revision {source.revision}, {when}"
            print(f"keeps a copy of {source.address}, {reached}")
        for examined in examine(session):
            wrong += examined.wrong
            print(f"{'OFF' if examined.wrong else 'ok ':3}  {examined.seen:,} {examined.what}")
            for finding in examined.told:
                print(f"       {finding}")
            if examined.wrong > len(examined.told):
                print(f"       and {examined.wrong - len(examined.told):,} more")
    if wrong:
        raise Stop(
            "this database is not as it should be: restore a backup, or copy its source anew if it has one"
        )


def _backup(options: argparse.Namespace, settings: Settings) -> None:
    with _migrated(settings) as database:
        back_up(database, options.file)
    print(
        f"{options.file} ({options.file.stat().st_size:,} bytes) holds the whole database, its keys included."
    )


def _restore(options: argparse.Namespace, settings: Settings) -> None:
    with _database(settings) as database:
        restore(database, options.file)
        with database.reading() as session:
            feed = session.execute(sa.select(FEED)).one()
    print(
        f"The database is as the backup says: revision {feed.seq}, in a new life (epoch {feed.epoch}). "
        "Who keeps a copy will begin anew.\n"
        "Its keys are those of the backup: revoke again what was revoked since (shinchoku keys list)."
    )


def _compact(options: argparse.Namespace, settings: Settings) -> None:
    number, days = options.keep_changes
    with _migrated(settings) as database:
        with database.reading() as session:
            last = session.scalars(sa.select(FEED.c.seq)).one()
            if days:
                recent = CHANGE.c.at >= now() - timedelta(days=min(number, 36_500))
                first = session.scalar(sa.select(sa.func.min(CHANGE.c.seq)).where(recent))
                horizon = last if first is None else first - 1
            else:
                horizon = max(0, last - number)
        gone = compact(database, horizon)
    print(
        f"{gone:,} changes forgotten; /changes answers from {horizon} on, and 410 to who comes from before."
    )


# ---------------------------------------------------------------------------------------------------------


def _say(words: str) -> None:
    print(words, flush=True)


def _municipality_code(text: str | None) -> str | None:
    try:
        return text and municipalities.complete(text)
    except PydanticCustomError as error:
        raise Stop(error.message()) from None


def _create_key(options: argparse.Namespace, settings: Settings) -> None:
    code = _municipality_code(options.municipality)
    if options.role == Role.ADMIN and code is not None:
        raise Stop("an admin writes everywhere: leave --municipality out, or make an editor")
    if options.role == Role.EDITOR and code is None:
        raise Stop("an editor needs --municipality: the code of the municipality it writes for")
    expires = options.expires and datetime.combine(options.expires, time.max, UTC)
    with _migrated(settings) as database, database.writing() as session:
        key = _made_key(session, options.name, options.role, code, expires)
    _show(key)


def _made_key(
    session: Session, name: str, role: str, municipality_code: str | None, expires_at: datetime | None
) -> keys.Key:
    key = keys.make()
    session.execute(
        sa.insert(API_KEY).values(
            id=key.id,
            name=name,
            role=role,
            municipality_code=municipality_code,
            secret_sha256=key.sha256,
            created_at=now(),
            expires_at=expires_at,
        )
    )
    return key


def _show(key: keys.Key) -> None:
    print("Keep this key safe: it is shown only now.", file=sys.stderr)
    print(key.plain)


def _list_keys(options: argparse.Namespace, settings: Settings) -> None:
    with _migrated(settings) as database, database.reading() as session:
        rows = session.execute(sa.select(API_KEY).order_by(API_KEY.c.created_at)).all()
    print("id        role    municipality  created     last used   state    name")
    for row in rows:
        state = (
            "revoked"
            if row.revoked_at
            else "expired"
            if row.expires_at and row.expires_at <= now()
            else "valid"
        )
        used = f"{row.last_used_at:%Y-%m-%d}" if row.last_used_at else "-"
        where = row.municipality_code or "-"
        made = f"{row.created_at:%Y-%m-%d}"
        print(f"{row.id}  {row.role:6}  {where:12}  {made}  {used:10}  {state:7}  {row.name}")


def _rotate_key(options: argparse.Namespace, settings: Settings) -> None:
    with _migrated(settings) as database, database.writing() as session:
        old = _live_key(session, options.id)
        key = _made_key(session, old.name, old.role, old.municipality_code, old.expires_at)
        end = now() + timedelta(days=options.overlap)
        if old.expires_at is None or end < old.expires_at:
            ends = {"expires_at": end} if options.overlap else {"revoked_at": end}
            session.execute(sa.update(API_KEY).where(API_KEY.c.id == old.id).values(ends))
    until = f"is good until {end:%Y-%m-%d %H:%M} UTC" if options.overlap else "is no longer accepted"
    print(f"The key {old.id} {until}.", file=sys.stderr)
    _show(key)


def _revoke_key(options: argparse.Namespace, settings: Settings) -> None:
    with _migrated(settings) as database, database.writing() as session:
        key = _live_key(session, options.id)
        session.execute(sa.update(API_KEY).where(API_KEY.c.id == key.id).values(revoked_at=now()))
    print(f"The key {key.id} is no longer accepted.")


def _live_key(session: Session, named: str) -> sa.Row[Any]:
    id = named.removeprefix("shk_")[:8]
    found = session.execute(
        sa.select(API_KEY)
        .where(API_KEY.c.id == id, API_KEY.c.revoked_at.is_(None))
        .where(API_KEY.c.expires_at.is_(None) | (API_KEY.c.expires_at > now()))
        .with_for_update()
    ).one_or_none()
    if found is None:
        raise Stop(f"there is no valid key {id}")
    return found


if __name__ == "__main__":
    sys.exit(main())
