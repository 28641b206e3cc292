"""A faithful copy of another Shinchoku, or of one municipality of it: a snapshot first, then its changes, for ever.

Each page of changes and the cursor that follows it are written in one transaction, so that a copy may be ended at
any moment and goes on where it was. All that a transaction writes has arrived before it begins: other writers never
wait for the network. What came from a source is read-only here (see `changes.hold`).
"""

import hashlib
import json
import random
import time
from collections.abc import Callable, Iterable, Iterator, Sequence, Set
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Self

import httpx
import sqlalchemy as sa

from app.changes import CHUNK, ENTITIES, SOFTWARE, remove, save
from app.feed import digest_of
from app.kit.bulk import among
from app.kit.database import Database
from app.kit.session import Session
from app.models import DOCUMENT, EVALUATION, MEASURE, PLAN, SECTION, SOURCE, Plan, now

WAIT = 25  # seconds that a question waits at the source
LONGEST_PAUSE = 60  # seconds between two tries
PROOF = 3600  # seconds between two proofs that the copy is equal

Say = Callable[[str], None]


class Unanswered(Exception):
    """The source is away, or does not answer as a Shinchoku does: another try may help."""


class NotThere(Unanswered):
    """The source answers 404."""


class Diverged(Exception):
    """This copy is not the state that the source's next page builds on: it has to begin anew."""


class Collision(Exception):
    """What is to be copied exists here, from somewhere else: only a person can tell what is right."""


@dataclass(frozen=True)
class Source:
    """What is copied."""

    url: str
    municipality: str | None = None

    @property
    def address(self) -> str:
        return f"{self.url}?municipality={self.municipality}" if self.municipality else self.url

    def overlaps(self, address: str) -> bool:
        """Whether a copy from this address has rows of ours: two cursors would fight over them."""
        whole = address.partition("?municipality=")[0] == self.url
        return whole and address != self.address and (self.municipality is None or address == self.url)

    @property
    def scope(self) -> dict[str, str]:
        return {"municipality": self.municipality} if self.municipality else {}

    def conditions(self) -> list[sa.ColumnElement[bool]]:
        """Which rows here are its copies."""
        mine = [PLAN.c.origin == self.url]
        return [*mine, PLAN.c.municipality_code == self.municipality] if self.municipality else mine


class Mirror:
    def __init__(self, database: Database, source: Source, say: Say) -> None:
        self.database = database
        self.source = source
        self._say = say
        self.proven = float("-inf")  # when the copy was last known to be equal
        self.begun_anew = 0  # how often in succession
        self.client = httpx.Client(
            base_url=source.url,
            timeout=httpx.Timeout(20, read=WAIT + 35),
            headers={"User-Agent": f"shinchoku-mirror/{SOFTWARE}"},
            follow_redirects=True,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.client.close()

    def say(self, words: str) -> None:
        self._say(f"{self.source.address}: {words}")

    def once(self) -> None:
        """Make the copy equal to the source as it is now."""
        while not self.step(wait=0):
            pass
        self.prove()

    def for_ever(self) -> None:
        pause = 1.0
        while True:
            try:
                if self.step(wait=WAIT) and time.monotonic() - self.proven > PROOF:
                    self.prove()
                pause = 1.0
            except (Unanswered, sa.exc.OperationalError) as reason:
                wait = pause * random.uniform(0.5, 1)  # noqa: S311 (so that not all copies come back at once)
                said = (
                    f"the copy's database: {reason.orig}" if isinstance(reason, sa.exc.DBAPIError) else reason
                )
                self.say(f"{said}; next try in {wait:.0f} s")
                time.sleep(wait)
                pause = min(2 * pause, LONGEST_PAUSE)

    def step(self, wait: int) -> bool:
        """One page of changes, or a snapshot where there is no way on; tells whether the copy has caught up."""
        cursor, revision = self._state()
        if cursor is None or revision is None:
            self._take_snapshot(cursor)
            return False
        try:
            page = self._page(cursor, revision, wait)
            about = page["metadata"]
            if about["after"] != revision:
                raise Diverged(f"the source goes on after {about['after']} and not {revision}")
            if page["results"] or about["through"] != revision:
                self._apply(page, cursor)
        except (Diverged, sa.exc.IntegrityError) as reason:
            if self.begun_anew > 1:
                self.begun_anew = 0
                raise Unanswered(f"{reason}, again and again") from None
            self.begun_anew += 1
            self.say(f"{reason}; taking a new snapshot")
            self._take_snapshot(cursor)
            return False
        self.begun_anew = 0
        return not about["more"]

    def prove(self) -> None:
        """Hold the copy against the source's digest. A copy that differs is made anew, once."""
        for attempt in range(2):
            with self._asked("/changes/digest", self.source.scope) as answer:
                proof = json.loads(answer.read())
            with self.database.reading() as session:
                revision = session.scalar(sa.select(SOURCE.c.revision).where(self._own))
                count, digest = digest_of(session, self.source.conditions())
            if proof["revision"] != revision:  # it went on meanwhile; the next proof will do
                return
            if (proof["count"], proof["digest"]) == (count, digest):
                self.proven = time.monotonic()
                self.say(f"equal at revision {revision}, {count} rows")
                if not count:
                    self.say("the source has no such plan yet; what it will have comes here by itself")
                return
            if attempt:
                raise Collision("the copy differs from its source even after a new snapshot")
            self.say(f"differs from its source at revision {revision}; taking a new snapshot")
            self._take_snapshot(self._state()[0])

    def forget(self) -> int:
        """End the copy: all its rows go, and nothing keeps the plans' names any more. Tells how many plans went."""
        with self.database.writing() as session:
            there = sa.select(SOURCE.c.address).where(self._own).with_for_update()
            if session.scalar(there) is None:
                raise Collision("this database keeps no copy from there")
            plans = session.scalars(sa.select(PLAN.c.id).where(*self.source.conditions())).all()
            remove(session, Plan, plans)
            session.execute(sa.delete(SOURCE).where(self._own))
        return len(plans)

    # -----------------------------------------------------------------------------------------------------
    # Asking

    @contextmanager
    def _asked(self, path: str, parameters: dict[str, Any], seen: int = 0) -> Iterator[httpx.Response]:
        """An answer that is not older than what was `seen`, whichever server of the source gives it."""
        headers = {"Shinchoku-Revision": str(seen)}
        try:
            with self.client.stream("GET", path, params=parameters, headers=headers) as answer:
                if path == "/changes" and answer.status_code in (409, 410):
                    raise Diverged("the source was restored or replaced, or this copy was away for too long")
                if answer.status_code != 200:
                    kind = NotThere if answer.status_code == 404 else Unanswered
                    raise kind(f"{path} was answered {answer.status_code}")
                yield answer
        except httpx.HTTPError as error:
            raise Unanswered(f"{path}: {error or type(error).__name__}") from None
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise Unanswered(f"{path} was not answered as by a Shinchoku ({error!r})") from None

    def _page(self, cursor: str, revision: int, wait: int) -> dict[str, Any]:
        asked = {"after": cursor, "limit": 1000, "wait": wait, **self.source.scope}
        with self._asked("/changes", asked, revision) as answer:
            page: dict[str, Any] = json.loads(answer.read())
            about, numbers = page["metadata"], [change["seq"] for change in page["results"]]
            if not self.source.scope and numbers != list(range(about["after"] + 1, about["through"] + 1)):
                raise Diverged(f"the changes after {about['after']} have a gap")
        return page

    def _fetch(self, documents: Sequence[dict[str, Any]], folder: Path, seen: int, gone: Set[str]) -> None:
        """Put the files that are not here yet, or will go first, into the folder, each under its hash."""
        with self.database.reading() as session:
            known = _ids(session, "document", [_key("document", data) for data in documents])
        for data in documents:
            key = _key("document", data)
            if key in known and key not in gone:
                continue
            try:
                with self._asked(f"/documents/{data['id']}/content", {}, seen) as answer:
                    content = answer.read()
            except NotThere:
                raise Diverged(f"the file {data['name']} is not there any more") from None
            if hashlib.sha256(content).hexdigest() != data["sha256"]:
                raise Unanswered(f"the file {data['name']} did not arrive whole")
            (folder / data["sha256"]).write_bytes(content)

    # -----------------------------------------------------------------------------------------------------
    # Writing

    @property
    def _own(self) -> sa.ColumnElement[bool]:
        return SOURCE.c.address == self.source.address

    def _state(self) -> tuple[str | None, int | None]:
        with self.database.reading() as session:
            found = session.execute(
                sa.select(SOURCE.c.cursor, SOURCE.c.revision).where(self._own)
            ).one_or_none()
        return (found.cursor, found.revision) if found else (None, None)

    @contextmanager
    def _writing(self, cursor: str | None) -> Iterator[Session]:
        """A transaction that goes on from this cursor, alone."""
        with self.database.writing() as session:
            there = sa.select(SOURCE.c.cursor).where(self._own).with_for_update()
            found = session.execute(there).one_or_none()
            if found is None:
                for address in session.scalars(sa.select(SOURCE.c.address)):
                    if self.source.overlaps(address):
                        raise Collision(f"this database already keeps a copy of {address}, which overlaps")
                session.execute(sa.insert(SOURCE).values(address=self.source.address))
            elif found.cursor != cursor:
                raise Unanswered("another mirror of this source writes here, or this database was restored")
            yield session

    def _reached(self, session: Session, cursor: str, revision: int) -> None:
        values = {"cursor": cursor, "revision": revision, "synced_at": now()}
        session.execute(sa.update(SOURCE).where(self._own).values(values))

    def _apply(self, page: dict[str, Any], cursor: str) -> None:
        about, changes = page["metadata"], page["results"]
        of_documents = [one for one in changes if one["entity"] == "document"]
        documents = [one["data"] for one in of_documents if one["data"]]
        gone = {one["key"] for one in of_documents if not one["data"]}
        with TemporaryDirectory(prefix="shinchoku-") as name:
            self._fetch(documents, Path(name), about["through"], gone)
            with self._writing(cursor) as session:
                for (entity, gone), some in groupby(
                    changes, lambda one: (one["entity"], one["op"] == "delete")
                ):
                    run = list(some)
                    if gone:
                        keys = [change["key"] for change in run]
                        ids = _ids(session, entity, keys, *self.source.conditions())
                        remove(session, ENTITIES[entity].model, [ids[key] for key in keys if key in ids])
                    else:
                        for distinct in _distinct(run):
                            self._write(session, entity, [change["data"] for change in distinct], Path(name))
                self._reached(session, about["resultset"]["next"], about["through"])
        if changes:
            self.say(f"{len(changes)} changes, up to revision {about['through']}")

    def _take_snapshot(self, cursor: str | None) -> None:
        with TemporaryDirectory(prefix="shinchoku-") as name:
            try:
                self._copy_snapshot(self._downloaded(Path(name)), Path(name), cursor)
            except Diverged as reason:
                raise Unanswered(f"the snapshot is not whole: {reason}") from None

    def _downloaded(self, folder: Path) -> dict[str, Any]:
        """The whole snapshot as a file, and the files of its documents; tells its first line."""
        documents: list[dict[str, Any]] = []
        with (
            self._asked("/snapshot.jsonl", self.source.scope) as answer,
            (folder / "rows").open("wb") as rows,
        ):
            lines = _lines(answer.iter_bytes())
            head: dict[str, Any] = json.loads(next(lines, b"null"))
            self.say(f"snapshot of revision {head['revision']}, {head['rows']} rows")
            arrived, told = 0, time.monotonic()
            for arrived, line in enumerate(lines, 1):
                row = json.loads(line)
                if row["entity"] == "document":
                    documents.append(row["data"])
                rows.write(line + b"\n")
                if time.monotonic() - told > 5:
                    told = time.monotonic()
                    self.say(f"{arrived} of {head['rows']} rows have arrived")
            if arrived != head["rows"]:
                raise Unanswered("the snapshot broke off")
        self._fetch(documents, folder, head["revision"], set())
        return head

    def _copy_snapshot(self, head: dict[str, Any], folder: Path, cursor: str | None) -> None:
        """In one transaction: who reads here sees the state before, or the whole of the new one."""
        with (folder / "rows").open("rb") as lines, self._writing(cursor) as session:
            seen: dict[str, set[int]] = {entity: set() for entity in ENTITIES}
            for entity, some in _batches(map(json.loads, lines)):
                seen[entity].update(self._write(session, entity, some, folder))
            for kind in reversed(ENTITIES.values()):
                mine = kind.record.with_only_columns(kind.table.c.id).where(*self.source.conditions())
                gone = [id for id in session.scalars(mine) if id not in seen[kind.name]]
                remove(session, kind.model, gone)
            self._reached(session, head["cursor"], head["revision"])

    def _write(
        self, session: Session, entity: str, rows: Sequence[dict[str, Any]], folder: Path
    ) -> list[int]:
        """Make these rows so, as the source tells them; gives their ids here."""
        if entity == "plan":
            self._make_room(session, rows)
        kind = ENTITIES[entity]
        parents = _parents(session, entity, rows)
        columns = [name for name in kind.model.model_fields if name not in {"id", *kind.model.DERIVED}]
        made = []
        for data in rows:
            row = {name: data[name] for name in columns if name in data}
            for time_ in ("created_at", "updated_at"):
                row[time_] = datetime.fromisoformat(data[time_])
            for name, (ids, key_of) in parents.items():
                key = key_of(data)
                if key is not None and key not in ids:
                    raise Diverged(f"{_key(entity, data)} came before its {name.removesuffix('_id')}")
                row[name] = None if key is None else ids[key]
            if entity == "plan":
                row["origin"] = self.source.url
            if entity == "document" and (file := folder / data["sha256"]).exists():
                row["content"] = file.read_bytes()
            made.append(row)
        # Documents whose file is here already go without it.
        groups = [[row for row in made if ("content" in row) is fresh] for fresh in (True, False)]
        return [id for group in groups for id in save(session, kind.model, group).ids]

    def _make_room(self, session: Session, plans: Sequence[dict[str, Any]]) -> None:
        """A plan from elsewhere is not overwritten; one that belonged to another municipality is another plan."""
        municipality_of = {data["slug"]: data["municipality_code"] for data in plans}
        there = sa.select(PLAN.c.id, PLAN.c.slug, PLAN.c.origin, PLAN.c.municipality_code)
        for plan in session.execute(there.where(PLAN.c.slug.in_(municipality_of))).all():
            if plan.origin != self.source.url:
                whose = f"from {plan.origin}" if plan.origin else "of its own"
                raise Collision(
                    f"this database has a plan {plan.slug} {whose}, which is not overwritten: "
                    "give the copy a database of its own with SHINCHOKU_DATABASE_URL"
                )
            if plan.municipality_code != municipality_of[plan.slug]:
                remove(session, Plan, [plan.id])


# ---------------------------------------------------------------------------------------------------------
# Keys and ids


def _distinct(changes: Sequence[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    """Runs in which no key comes twice: each state of a row is written and logged."""
    run: dict[str, dict[str, Any]] = {}
    for change in changes:
        if change["key"] in run:
            yield list(run.values())
            run = {}
        run[change["key"]] = change
    yield list(run.values())


def _lines(parts: Iterable[bytes]) -> Iterator[bytes]:
    """Only a newline ends a line: texts may hold other characters that do so elsewhere."""
    rest = b""
    for part in parts:
        *whole, rest = (rest + part).split(b"\n")
        yield from whole
    if rest:
        yield rest


def _batches(lines: Iterable[dict[str, Any]]) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """Rows of one kind at a time, and not too many."""
    for entity, some in groupby(lines, lambda line: str(line["entity"])):
        batch: list[dict[str, Any]] = []
        for line in some:
            batch.append(line["data"])
            if len(batch) == CHUNK:
                yield entity, batch
                batch = []
        if batch:
            yield entity, batch


def _key(entity: str, data: dict[str, Any]) -> str:
    match entity:
        case "plan":
            return str(data["slug"])
        case "document":
            return f"{data['plan']}/{data['sha256']}"
        case "evaluation":
            return f"{data['plan']}/{data['measure_code']}/{data['fiscal_year']}/{data['ordinal']}"
    return f"{data['plan']}/{data['code']}"


# The columns that the parts of a key name, and where they stand.
PLACES: dict[str, tuple[sa.FromClause, tuple[sa.ColumnElement[Any], ...]]] = {
    "plan": (PLAN, (PLAN.c.slug,)),
    "document": (DOCUMENT.join(PLAN), (PLAN.c.slug, DOCUMENT.c.sha256)),
    "section": (SECTION.join(PLAN), (PLAN.c.slug, SECTION.c.code)),
    "measure": (MEASURE.join(PLAN), (PLAN.c.slug, MEASURE.c.code)),
    "evaluation": (
        EVALUATION.join(MEASURE).join(PLAN),
        (PLAN.c.slug, MEASURE.c.code, EVALUATION.c.fiscal_year, EVALUATION.c.ordinal),
    ),
}


def _ids(
    session: Session, entity: str, keys: Iterable[str], *conditions: sa.ColumnElement[bool]
) -> dict[str, int]:
    """The ids that these keys have here, as far as they exist."""
    source, columns = PLACES[entity]
    parts = {tuple(key.split("/")[:2] + [int(part) for part in key.split("/")[2:]]) for key in keys}
    found: dict[str, int] = {}
    for start in range(0, len(parts), CHUNK):
        some = list(parts)[start : start + CHUNK]
        rows = session.execute(
            sa.select(ENTITIES[entity].table.c.id, *columns)
            .select_from(source)
            .where(among(session, columns, some), *conditions)
        )
        found |= {"/".join(map(str, row[1:])): row[0] for row in rows}
    return found


KeyOf = Callable[[dict[str, Any]], str | None]


def _parents(
    session: Session, entity: str, rows: Sequence[dict[str, Any]]
) -> dict[str, tuple[dict[str, int], KeyOf]]:
    """For each column that names a parent: the ids by key, and how a row tells its parent's key."""
    keys_of: dict[str, dict[str, KeyOf]] = {
        "plan": {},
        "document": {"plan_id": lambda data: data["plan"]},
        "section": {"plan_id": lambda data: data["plan"]},
        "measure": {
            "plan_id": lambda data: data["plan"],
            "section_id": lambda data: f"{data['plan']}/{data['section']}",
        },
        "evaluation": {
            "measure_id": lambda data: f"{data['plan']}/{data['measure_code']}",
            "document_id": lambda data: data["document"] and f"{data['plan']}/{data['document']}",
        },
    }
    found: dict[str, tuple[dict[str, int], KeyOf]] = {}
    for column, key_of in keys_of[entity].items():
        keys = {key for key in map(key_of, rows) if key is not None}
        found[column] = (_ids(session, column.removesuffix("_id"), keys), key_of)
    return found
