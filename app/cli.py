"""The `shinchoku` command: serve, migrate, import, export, mirror, doctor, backup, restore, compact, keys."""

import argparse
import gc
import json
import logging.config
import os
import re
import socket
import sys
import tomllib
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import IO, Any, TypeVar

import psycopg
import sqlalchemy as sa
import uvicorn
from pydantic import BaseModel, ValidationError
from pydantic_core import PydanticCustomError
from pydantic_settings import SettingsError

from app import municipalities, plans
from app.backups import Unusable, back_up, restore
from app.changes import SOFTWARE, compact
from app.doctor import examine
from app.documents.files import EXPORTS, exported, summary_exported
from app.documents.importing import import_document, take_in, understood
from app.documents.refusing import Refused
from app.documents.reprinting import document_exported
from app.documents.told import Told
from app.documents.writing import MEDIA_TYPES as FORMS
from app.fiscal_years import FiscalYearParameter
from app.kit import keys, logs, migrations
from app.kit.database import Database
from app.kit.errors import Problem, Say
from app.kit.http import Protocol
from app.kit.session import Session
from app.kit.settings import Settings
from app.mirror import Collision, Mirror, Source, Unanswered
from app.models import API_KEY, CHANGE, FEED, PLAN, SOURCE, Role, now
from app.summaries import SummaryQuery

log = logging.getLogger("shinchoku")

KEEP_ALIVE = (
    75  # seconds: longer than clients and proxies keep a connection, so that none is closed under a request
)

MOST_CODES = 100  # of measures, that a report tells by name

Shape = TypeVar("Shape", bound=BaseModel)


class YearAsked(BaseModel):
    plan: str
    fiscal_year: FiscalYearParameter


# What an export may be narrowed down by; which of them a list takes is the list's affair.
FILTERS = {
    "plan": "slug of the plan",
    "municipality": "municipality code",
    "section": "section code",
    "measure": "measure code",
    "fiscal_year": "such as H29",
    "rating": "codes by comma; none for what was not rated",
    "department": "exactly as printed",
    "q": "words that must all be found",
    "sort": "what to sort by",
    "fields": "these fields only, by comma",
    "group_by": "of the summary, by comma",
    "unit": "of the summary: evaluation or measure",
    "encoding": "of .csv and .tsv: utf-8 or cp932",
}

# What messages call the parameters of POST /imports. What they quote from a document is left as it is.
PARAMETER = re.compile(
    r"""「[^」]*」|(?<=\s)'[^']*'|(?<![\w".-])(?P<name>fiscal_year|municipality_code|on_rename|on_renumber|on_repeat|numbering"""
    r"""|(?<=with )(?:plan|title|sheet|mapping)|(?<=Leave )plan|(?<=municipality_code and )municipality"""
    r"""|(?:plan|title|municipality|sheet|encoding|mapping)(?= [はがをにでと]))(?:=(?P<value>\w+))?(?![\w"-])""",
    re.ASCII,
)


class Stop(Exception):
    """Something is wrong that the person at the terminal can put right."""


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    gc.freeze()  # the code that was read stays, and need not be looked through for what is no longer used
    try:
        settings = _settings()
    except Stop as stop:
        print(f"shinchoku: {stop}", file=sys.stderr)
        return 1
    try:
        run: Callable[[argparse.Namespace, Settings], None] = options.run
        run(options, settings)
        sys.stdout.flush()
    except BrokenPipeError:  # who reads along, as head does, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        # Most tell what they have done when it is done. These two were at work: a shell calls that SIGPIPE.
        return 141 if run in (_doctor, _mirror) else 0
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
        "serve", help="answer over HTTP, after `migrate`; an empty database is filled with the seed first"
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
    importing.add_argument(
        "--dry-run", action="store_true", help="tell what would come of it, and change nothing"
    )
    importing.add_argument("--plan", help="slug of the plan")
    importing.add_argument("--municipality-code", help="to make a plan that does not exist yet")
    importing.add_argument("--municipality", help="its name")
    importing.add_argument("--title", help="the title of that plan, where the document's is that of a report")
    importing.add_argument("--encoding", help="when it is not recognised, such as cp932")
    importing.add_argument("--fiscal-year", help="when the document does not say it, such as H29")
    importing.add_argument("--sheet", help="which sheets to read, by comma; all with a table otherwise")
    importing.add_argument("--mapping", help='what columns are, such as \'{"5": "implementation"}\'')
    importing.add_argument(
        "--numbering", choices=["order"], help="count measures without numbers in their order"
    )
    importing.add_argument("--on-repeat", choices=["skip", "keep"], help="what to do with rows that say 再掲")
    importing.add_argument("--on-rename", choices=["update"], help="give measures the titles of the document")
    importing.add_argument(
        "--on-renumber",
        choices=["new"],
        help="measures with a title on record under another number are others",
    )
    importing.set_defaults(run=_import)

    exporting = commands.add_parser("export", help="write a list, the summary or a year's table into a file")
    exporting.add_argument("what", choices=[*EXPORTS, "summary", "document"])
    exporting.add_argument(
        "file", type=Path, help="its suffix says in which form: .csv, .tsv, .xlsx or .jsonl"
    )
    for name, about in FILTERS.items():
        exporting.add_argument(f"--{name.replace('_', '-')}", help=about)
    exporting.set_defaults(run=_export)

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
            with _explained(settings.seed):
                content, told = _content(settings.seed), _told(settings.seed, {})
                report = import_document(session, content, settings.seed.name, told)
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
        timeout_keep_alive=KEEP_ALIVE,
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
    given = {name: getattr(options, name) for name in Told.model_fields if getattr(options, name) is not None}
    told = _told(options.file, given)
    with (
        _opened(options.file) as file,
        _migrated(settings) as database,
        _explained(options.file),
        understood(file, options.file.name, told) as found,
        database.writing() as session,
        _progress(found.head["rows"]) as progress,
    ):
        report = take_in(session, found, file, options.file.name, told, progress=progress)
        if options.dry_run:
            session.rollback()
    _print_report(told.plan, report, dry_run=options.dry_run)


def _print_report(plan: str | None, report: dict[str, Any], *, dry_run: bool) -> None:
    print(": ".join(part for part in (plan, report["title"]) if part) or "import")
    if dry_run:
        print("  試し読みです。何も書き込んでいません。 A dry run: nothing was written.")
    for what in ("created", "updated", "unchanged"):
        print(
            f"  {what:9}",
            ", ".join(f"{count} {entity}" for entity, count in report[what].items() if count) or "-",
        )
    for kind, codes in report["measures"].items():
        if codes:
            more = f" … {len(codes) - MOST_CODES:,} more" if len(codes) > MOST_CODES else ""
            print(f"  measures {kind}: {', '.join(codes[:MOST_CODES])}{more}")
    for warning in report["warnings"]:
        says = Say(warning["ja"], warning["en"])
        print(f"  {_placed(warning)}{_by_options(says)}{_shown(warning.get('text'))}")
    if report["mapping"]:
        print("  [mapping]")
        columns: dict[int, dict[str, Any]] = {}
        fields: dict[int, set[str]] = defaultdict(set)
        for column in report["mapping"]:
            fields[column["column"]].add(column["field"])
            if columns.setdefault(column["column"], column) != column:
                columns[column["column"]] = column | {"fiscal_year": None}  # each of its sheets tells its own
        for place, column in columns.items():
            told = [
                f"{name} = {json.dumps(column[name], ensure_ascii=False)}"
                for name in ("field", "fiscal_year", "name")
                if column.get(name)
            ]
            field = f"{{{', '.join(told)}}}" if len(told) > 1 else json.dumps(column["field"])
            if len(fields[place]) > 1:  # in tables that differ, which are told apart by their headers
                print(f"  # {place} = {' / '.join(sorted(fields[place]))}")
            else:
                print(f"  {place} = {field}  # {' '.join(column['header'].split())}")


def _by_options(says: Say) -> str:
    """A message, with the parameters that it names as options of the command."""

    def option(found: re.Match[str]) -> str:
        if found["name"] is None:
            return found[0]
        return f"--{found['name'].replace('_', '-')}" + (f" {found['value']}" if found["value"] else "")

    return " ".join(PARAMETER.sub(option, words) for words in says)


def _placed(place: Mapping[str, Any]) -> str:
    told = ", ".join(f"{name} {place[name]}" for name in ("sheet", "line", "column") if place.get(name))
    return f"{told}: " if told else ""


def _shown(text: str | None) -> str:
    return f" [{text}]" if text else ""


@contextmanager
def _progress(rows: int) -> Iterator[Callable[[int], None]]:
    """A bar on a terminal, for what takes more than a moment."""
    terminal = sys.stderr.isatty() and rows > 2_000

    def show(done: int) -> None:
        if terminal:
            bar = "#" * (30 * done // rows)
            print(f"\r  [{bar:30}] {done:,} / {rows:,}", end="", file=sys.stderr, flush=True)

    yield show
    if terminal:
        print("\r\033[K", end="", file=sys.stderr, flush=True)


def _export(options: argparse.Namespace, settings: Settings) -> None:
    form = options.file.suffix.removeprefix(".").lower()
    forms = ("tsv", "xlsx") if options.what == "document" else tuple(FORMS)
    if form not in forms:
        raise Stop(f"{options.file.name}: give the file one of these suffixes: .{', .'.join(forms)}")
    given = {name: getattr(options, name) for name in FILTERS if getattr(options, name) is not None}
    encoding = given.pop("encoding", "utf-8")
    if encoding not in ("utf-8", "cp932"):
        raise Stop(f"--encoding {encoding}: it can be utf-8 or cp932")
    part = options.file.with_name(f"{options.file.name}.part")
    try:
        with _migrated(settings) as database, database.reading() as session, part.open("wb") as out:
            out.writelines(_pieces(session, options.what, form, given, encoding))
        part.replace(options.file)
    except OSError as error:
        raise Stop(f"{options.file} cannot be written: {error.strerror}") from None
    except Problem as problem:
        raise Stop("\n  ".join(f"{says.ja} {says.en}" for says in _sentences(problem))) from None
    finally:
        part.unlink(missing_ok=True)
    print(f"{options.file}: {options.file.stat().st_size:,} bytes")


def _pieces(session: Session, what: str, form: str, given: dict[str, str], encoding: str) -> Iterator[bytes]:
    if "plan" in given and not session.scalar(sa.select(sa.exists().where(PLAN.c.slug == given["plan"]))):
        raise Stop(f"--plan {given['plan']}: there is no such plan")
    if what == "document":
        missing = [name for name in ("plan", "fiscal_year") if name not in given]
        if missing or len(given) > 2:
            raise Stop("a document is a year of a plan: give --plan and --fiscal-year, and nothing else")
        year = _checked(YearAsked, given).fiscal_year
        plan = plans.plan_id(session, PLAN.c.slug == given["plan"])
        return document_exported(session, plan, year, form)
    if what == "summary":
        return summary_exported(session, form, _checked(SummaryQuery, given), encoding)
    return exported(session, EXPORTS[what], form, _checked(EXPORTS[what].asked, given), encoding)


def _checked(shape: type[Shape], given: dict[str, str]) -> Shape:
    """What was given, as the list takes it."""
    if unknown := [name for name in given if name not in shape.model_fields]:
        raise Stop(f"--{unknown[0].replace('_', '-')} does not apply here")
    try:
        return shape.model_validate(given)
    except ValidationError as error:
        wrong = (f"--{str(found['loc'][0]).replace('_', '-')}: {found['msg']}" for found in error.errors())
        raise Stop("; ".join(wrong)) from None


@contextmanager
def _opened(file: Path) -> Iterator[IO[bytes]]:
    try:
        opened = file.open("rb")
    except OSError as error:
        raise Stop(f"{file} cannot be read: {error.strerror}") from None
    with opened:
        yield opened


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


@contextmanager
def _explained(file: Path) -> Iterator[None]:
    """What is wrong with the file, all of it, for the person at the terminal."""
    try:
        yield
    except Problem as problem:
        lines = [_by_options(problem.says)] * (not problem.findings)
        for found in problem.findings:
            place, text = _placed(found.place), _shown(found.place.get("text"))
            lines.append(f"{place}{_by_options(found.says)}{text}")
        if isinstance(problem, Refused):
            places = "1 place" if len(lines) == 1 else f"{len(lines)} places"
            lines.insert(0, f"{file.name}: {places} not understood; nothing was written")
        if any(found.parameter in Told.model_fields for found in problem.findings):
            notes = file.with_suffix(".toml").name
            lines.append(
                f"{notes} に書いておくこともできます。 It may stand in {notes} beside the file, too."
            )
        raise Stop("\n  ".join(lines)) from None


def _sentences(problem: Problem) -> list[Say]:
    return [found.says for found in problem.findings] or [problem.says]


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
    print("id        role    municipality  created     last used   expires     state    name")
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
        ends = f"{row.expires_at:%Y-%m-%d}" if row.expires_at else "-"
        print(f"{row.id}  {row.role:6}  {where:12}  {made}  {used:10}  {ends:10}  {state:7}  {row.name}")


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
        raise Stop(f"there is no valid key {id}: `shinchoku keys list` tells which there are")
    return found


if __name__ == "__main__":
    sys.exit(main())
