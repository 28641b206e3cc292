"""The revision: every write passes through `save` or `remove`, is numbered, and is logged as one change.

The promise, in one sentence: whoever has seen change n has seen every change before it, and the rows of this
database are what its changes say.

It holds because the numbers are taken from the one `feed` row as the last step of the writing transaction. The
lock on that row lasts until the commit is visible, so nobody can see n + 1 before n; and a number that is
rolled back is taken again, so there are no gaps. (A database sequence gives neither.)
"""

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache, cached_property
from importlib.metadata import version
from operator import itemgetter
from typing import Annotated, Any, NamedTuple, TypeVar

import orjson
import sqlalchemy as sa
from fastapi import Depends
from sqlmodel import SQLModel

from app import tallies
from app.kit import search
from app.kit.bulk import FEW, Lookup, expect_many, fresh_ids, insert, overwrite
from app.kit.database import Database, Reading, busy
from app.kit.errors import Forbidden
from app.kit.fetching import Prepared, fetch
from app.kit.session import Session, first_step, last_step
from app.kit.watch import CHANNEL
from app.models import (
    CHANGE,
    DOCUMENT,
    DOCUMENT_KEY,
    EVALUATION,
    EVALUATION_KEY,
    FEED,
    MEASURE,
    MEASURE_KEY,
    PLAN,
    PLAN_KEY,
    REMOVALS,
    SECTION,
    SECTION_KEY,
    Document,
    Evaluation,
    Measure,
    Plan,
    Row,
    Section,
    now,
)

T = TypeVar("T")
Parents = Callable[[Mapping[str, Any]], Mapping[str, Any]]  # of a row

SOFTWARE = version("shinchoku")  # another version may show the same rows otherwise

# A transaction that writes more takes numbers before its end, and keeps the other writers waiting from then on:
# the notes of a million rows would fill the memory.
MOST_NOTES = 20_000
CHUNK = 1_000  # rows a statement: stays below SQLite's limit of 32,766 variables


@dataclass(frozen=True)
class Entity:
    """A noun as the feed knows it."""

    model: type[Row]
    table: sa.Table
    # The columns that are unique together.
    natural_key: tuple[str, ...]
    # A row's key, then the row as the feed tells it: its parents by their keys, not by our ids.
    record: sa.Select[Any]
    # The columns that point here: what goes when a row of this goes.
    below: tuple[sa.Column[Any], ...] = ()
    # The column that points at the parent, and what a row carries of that one (see `Placed`), by its id.
    parent: sa.Column[Any] | None = None
    above: sa.Select[Any] | None = None
    # Whether there are so many that rows just written are told as they were given, and not read again.
    many: bool = False
    # Whether the words of its rows are looked up in an index.
    searched: bool = False

    @property
    def name(self) -> str:
        return self.table.name

    @cached_property
    def by_id(self) -> Lookup:
        return Lookup(sa.select(self.table), self.table.c.id)

    @cached_property
    def by_key(self) -> Lookup:
        return Lookup(sa.select(self.table), *(self.table.c[name] for name in self.natural_key))

    @cached_property
    def records(self) -> Lookup:
        """By id the rows as the feed tells them, each with its key."""
        return Lookup(self.record.order_by(self.table.c.id), self.table.c.id)

    @cached_property
    def parents(self) -> Lookup | None:
        return None if self.above is None else Lookup(self.above, self.above.selected_columns.id)

    @cached_property
    def children(self) -> Lookup | None:
        return None if self.parent is None else Lookup(sa.select(self.table), self.parent)

    @cached_property
    def graves(self) -> Lookup:
        """By key the last versions of what was removed."""
        gone = sa.select(CHANGE.c.key, sa.func.max(CHANGE.c.version).label("version"))
        return Lookup(gone.where(REMOVALS, CHANGE.c.entity == self.name).group_by(CHANGE.c.key), CHANGE.c.key)


def _record(
    model: type[Row], key: sa.ColumnElement[str], source: sa.FromClause, **parents: Any
) -> sa.Select[Any]:
    table = SQLModel.metadata.tables[str(model.__tablename__)]
    ours = {"plan_id", "section_id", "measure_id", "document_id", "origin", "content", *model.DERIVED}
    ending = ("version", "created_at", "updated_at")
    own = [column for column in table.columns if column.name not in {"id", *ours, *ending}]
    named = [column.label(name) for name, column in parents.items()]
    last = [table.c[name] for name in ending]
    place = (PLAN.c.slug.label("_plan"), PLAN.c.municipality_code.label("_municipality_code"))
    return sa.select(key.label("_key"), *place, table.c.id, *named, *own, *last).select_from(source)


_PLAN_OF_MEASURE = MEASURE.join(PLAN, MEASURE.c.plan_id == PLAN.c.id)

# Parents before children.
ENTITIES = {
    entity.name: entity
    for entity in (
        Entity(
            Plan,
            PLAN,
            ("slug",),
            _record(Plan, PLAN_KEY, PLAN),
            below=(SECTION.c.plan_id, MEASURE.c.plan_id, DOCUMENT.c.plan_id),
        ),
        Entity(
            Document,
            DOCUMENT,
            ("plan_id", "sha256"),
            _record(Document, DOCUMENT_KEY, DOCUMENT.join(PLAN), plan=PLAN.c.slug),
        ),
        Entity(
            Section,
            SECTION,
            ("plan_id", "code"),
            _record(Section, SECTION_KEY, SECTION.join(PLAN), plan=PLAN.c.slug),
            below=(MEASURE.c.section_id,),
            parent=SECTION.c.plan_id,
            above=sa.select(PLAN.c.id, PLAN.c.slug, PLAN.c.municipality_code),
        ),
        Entity(
            Measure,
            MEASURE,
            ("plan_id", "code"),
            _record(
                Measure,
                MEASURE_KEY,
                _PLAN_OF_MEASURE,
                plan=PLAN.c.slug,
                section=MEASURE.c.section,
            ),
            below=(EVALUATION.c.measure_id,),
            parent=MEASURE.c.section_id,
            searched=True,
            above=sa.select(SECTION.c.id, SECTION.c.code, SECTION.c.municipality_code, PLAN.c.slug).join(
                PLAN
            ),
        ),
        Entity(
            Evaluation,
            EVALUATION,
            ("measure_id", "fiscal_year", "ordinal"),
            _record(
                Evaluation,
                EVALUATION_KEY,
                EVALUATION.join(_PLAN_OF_MEASURE, EVALUATION.c.measure_id == MEASURE.c.id).outerjoin(
                    DOCUMENT, EVALUATION.c.document_id == DOCUMENT.c.id
                ),
                plan=PLAN.c.slug,
                measure_code=MEASURE.c.code,
                document=DOCUMENT.c.sha256,
            ),
            searched=True,
            parent=EVALUATION.c.measure_id,
            above=sa.select(
                *(MEASURE.c[name] for name in ("id", "code", *sorted(Measure.DERIVED))), PLAN.c.slug
            ).join(PLAN),
            many=True,
        ),
    )
}


OF_EVALUATION = [
    column.name
    for column in ENTITIES["evaluation"].record.selected_columns
    if isinstance(column, sa.Column) and column.table is EVALUATION and column.name != "id"
]


class Saved(NamedTuple):
    """What came of saving rows: the id of each in the order given, and how many were what."""

    ids: list[int]
    created: int
    updated: int
    unchanged: int


def save(
    session: Session, model: type[Row], rows: Sequence[Mapping[str, Any]], along: Sequence[str] = ()
) -> Saved:
    """Make each row so, whether its natural key exists yet or not, and log what really changed.

    A row names the columns of its natural key, or its id if it has one, and whatever else is to be written. A
    column that it leaves out keeps its value, or takes its default in a new row. Rows that tell their own
    `version`, `created_at` and `updated_at` keep these: they are copies. The columns named in `along` are written
    with another change and are none by themselves. The caller holds the plan (see `hold`).
    """
    entity = ENTITIES[str(model.__tablename__)]
    ids: list[int] = []
    created = updated = 0
    names = ("id",) if rows and "id" in rows[0] else entity.natural_key
    if len(rows) > FEW:
        expect_many(session)
    for chunk in _chunks(rows):
        wanted = _keys(names, chunk)
        there = (entity.by_id if names == ("id",) else entity.by_key).fetch(session, wanted)
        known = dict(zip(_keys(names, there), there, strict=True))
        blank = _defaults(model)
        befores = [known.get(key) for key in wanted]
        wholes = [{**(before or blank), **row} for row, before in zip(chunk, befores, strict=True)]
        parents = parents_of(session, entity, wholes)
        fresh: list[dict[str, Any]] = []
        changed: list[dict[str, Any]] = []
        found: list[int | None] = []
        for row, before, whole in zip(chunk, befores, wholes, strict=True):
            whole |= model.derived(whole, parents(whole))
            if before is None:
                fresh.append(whole)
            elif whole != before and any(whole[name] != before[name] for name in whole if name not in along):
                changed.append(whole if "version" in row else _next(whole))
            found.append(before["id"] if before else None)
        given = iter(_insert(session, entity, fresh, parents, copies="version" in chunk[0]))
        _update(session, entity, changed, known.values(), parents)
        ids += [next(given) if id is None else id for id in found]
        created += len(fresh)
        updated += len(changed)
    return Saved(ids, created, updated, len(rows) - created - updated)


def remove(session: Session, model: type[Row], ids: Sequence[int]) -> None:
    """Remove rows and all that stands below them, children first, and log each."""
    entity = ENTITIES[str(model.__tablename__)]
    for chunk in _chunks(ids):
        for column in entity.below:
            child = ENTITIES[column.table.name]
            remove(
                session,
                child.model,
                session.scalars(sa.select(child.table.c.id).where(column.in_(chunk))).all(),
            )
        _log(session, entity, "delete", _records(session, entity, chunk))
        if entity.searched:
            gone = fetch(session, sa.select(entity.table).where(entity.table.c.id.in_(chunk)))
            _follow(session, entity, [(row, None) for row in gone])
        session.execute(sa.delete(entity.table).where(entity.table.c.id.in_(chunk)))


def holding(source: sa.FromClause, *columns: sa.ColumnElement[Any]) -> Lookup:
    """The plans to hold, found by these columns of theirs or of what is joined with them."""
    plans = sa.select(PLAN.c.slug, PLAN.c.origin).select_from(source).order_by(PLAN.c.id)
    return Lookup(plans.with_for_update(of=PLAN), *columns)


PLANS_BY_SLUG = holding(PLAN, PLAN.c.slug)


def hold(session: Session, plans: Lookup, keys: Collection[Sequence[Any]]) -> None:
    """Be the only writer of these plans until the transaction ends.

    The plan is the unit of writing: its rows, the next free ordinal and its rating scale cannot change under
    the holder's hands. Plans are taken in the order of their ids, so that two writers never wait for each
    other. (SQLite has one writer at a time anyway.) A plan that is a copy is written by its mirror alone.
    """
    for slug, origin in (plan.values() for plan in plans.fetch(session, keys)):
        if origin is not None:
            raise Forbidden(
                f"計画 {slug} は {origin} の写しなので、ここでは書き込めません。元のほうで更新してください。",
                f"The plan {slug} is a copy from {origin} and is read-only here. Write to the original.",
            )


def _next(row: dict[str, Any]) -> dict[str, Any]:
    return row | {"version": row["version"] + 1, "updated_at": now()}


def _chunks(items: Sequence[T]) -> Iterator[Sequence[T]]:
    for start in range(0, len(items), CHUNK):
        yield items[start : start + CHUNK]


@cache
def _blank(model: type[Row]) -> tuple[tuple[str, Any], ...]:
    return tuple(
        (name, field)
        for name, field in model.model_fields.items()
        if not field.is_required() and name != "id"
    )


def _defaults(model: type[Row]) -> dict[str, Any]:
    """What is in a new row unless it says otherwise."""
    time = now()
    values = {name: field.get_default(call_default_factory=True) for name, field in _blank(model)}
    return {**values, "version": 1, "created_at": time, "updated_at": time}


def _keys(names: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> list[tuple[Any, ...]]:
    """What names each of these rows."""
    return list(zip(*([row[name] for row in rows] for name in names), strict=True))


def parents_of(session: Session, entity: Entity, rows: Iterable[Mapping[str, Any]]) -> Parents:
    """What each of these rows carries of its parent; nothing of one that is not there, which the database refuses."""
    if entity.parent is None or entity.parents is None:
        return lambda row: NOBODY
    name = entity.parent.name
    ids = {(row[name],) for row in rows}
    above = {row["id"]: row for row in entity.parents.fetch(session, ids)}
    return lambda row: above.get(row[name], NOBODY)


NOBODY: Mapping[str, Any] = defaultdict(str)


def _hand_down(session: Session, entity: Entity, ids: Sequence[int]) -> None:
    """What the children of these rows carry of them follows. The log is not told: it has what each row says itself."""
    for child in ENTITIES.values():
        if child.children is None or child.parent not in entity.below:
            continue
        for some in _chunks(child.children.fetch(session, [(id,) for id in ids])):
            parents = parents_of(session, child, some)
            carried = [(row, child.model.derived(row, parents(row))) for row in some]
            stale = [
                {"id": row["id"], **new}
                for row, new in carried
                if any(row[name] != new[name] for name in new)
            ]
            _overwrite(session, child, stale, some)
            if stale:
                _hand_down(session, child, [row["id"] for row in stale])


def _follow(
    session: Session,
    entity: Entity,
    rows: Sequence[tuple[Mapping[str, Any] | None, Mapping[str, Any] | None]],
) -> None:
    """What is kept beside rows follows them, from what each was to what it is: the index of searches, the tallies."""
    if entity.searched:
        search.follow(session, entity.table, rows)
    if entity.table is EVALUATION:
        tallies.follow(session, rows)


def _insert(
    session: Session, entity: Entity, rows: Sequence[dict[str, Any]], parents: Parents, *, copies: bool
) -> list[int]:
    if not rows:
        return []
    ids = fresh_ids(session, entity.table, len(rows))
    for id, row in zip(ids, rows, strict=True):
        row["id"] = id
    insert(session, entity.table, rows)
    _follow(session, entity, [(None, row) for row in rows])
    records = _records_of(session, entity, rows, parents)
    if not copies and _outlive(session, entity, records):
        records = _records(session, entity, ids)
    _log(session, entity, "create", records)
    return ids


def _outlive(session: Session, entity: Entity, records: Sequence[dict[str, Any]]) -> bool:
    """A key that was removed and is made again counts on from its last version: a version never means two things."""
    id_of = {record["_key"]: record["id"] for record in records}
    graves = entity.graves.fetch(session, [(key,) for key in id_of])
    if graves:
        raised = [{"id": id_of[grave["key"]], "version": grave["version"] + 1} for grave in graves]
        overwrite(session, entity.table, (), raised)
    return bool(graves)


def _records(session: Session, entity: Entity, ids: Sequence[int]) -> list[dict[str, Any]]:
    return entity.records.fetch(session, [(id,) for id in ids])


def _records_of(
    session: Session, entity: Entity, rows: Sequence[Mapping[str, Any]], parents: Parents
) -> list[dict[str, Any]]:
    """The same of rows that were just written."""
    if not entity.many:
        return _records(session, entity, [row["id"] for row in rows])
    hashes = {}
    if documents := {row["document_id"] for row in rows} - {None}:
        of_documents = sa.select(DOCUMENT.c.id, DOCUMENT.c.sha256).where(DOCUMENT.c.id.in_(documents))
        hashes = dict(session.execute(of_documents).all())
    own = itemgetter(*OF_EVALUATION)
    records = []
    for row in rows:
        measure = parents(row)
        plan, code = measure["slug"], measure["code"]
        told = {
            "_key": f"{plan}/{code}/{row['fiscal_year']}/{row['ordinal']}",
            "_plan": plan,
            "_municipality_code": measure["municipality_code"],
            "id": row["id"],
            "plan": plan,
            "measure_code": code,
            "document": hashes.get(row["document_id"]),
            **dict(zip(OF_EVALUATION, own(row), strict=True)),
        }
        records.append(told)
    return records


def _update(
    session: Session,
    entity: Entity,
    rows: Sequence[dict[str, Any]],
    before: Iterable[Mapping[str, Any]],
    parents: Parents,
) -> None:
    if not rows:
        return
    _overwrite(session, entity, rows, before)
    _log(session, entity, "update", _records_of(session, entity, rows, parents))
    _hand_down(session, entity, [row["id"] for row in rows])


def _overwrite(
    session: Session, entity: Entity, rows: Sequence[dict[str, Any]], before: Iterable[Mapping[str, Any]]
) -> None:
    if not rows:
        return
    if entity.searched:
        olds = {row["id"]: row for row in before}
        _follow(session, entity, [(olds[row["id"]], {**olds[row["id"]], **row}) for row in rows])
    overwrite(session, entity.table, entity.natural_key, rows)


# ---------------------------------------------------------------------------------------------------------
# The log


def _log(session: Session, entity: Entity, op: str, records: Iterable[dict[str, Any]]) -> None:
    """Note what these rows are now. The notes get their numbers when the transaction commits."""
    at = now()
    notes = session.unsettled.setdefault("changes", [])
    for data in records:
        notes.append(
            {
                "entity": entity.name,
                "entity_id": data["id"],
                "key": data.pop("_key"),
                "plan": data.pop("_plan"),
                "municipality_code": data.pop("_municipality_code"),
                "op": op,
                "version": data["version"] + (op == "delete"),
                "at": at,
                "api_key_id": session.info.get("api_key_id"),
                "data": None if op == "delete" else orjson.dumps(data, option=orjson.OPT_UTC_Z).decode(),
            }
        )
    if len(notes) >= MOST_NOTES:
        _number(session)


TAKING = Prepared(sa.update(FEED).values(seq=FEED.c.seq + sa.bindparam("number")).returning(FEED.c.seq))
TELLING = Prepared(sa.select(sa.func.pg_notify(CHANNEL, sa.bindparam("revision", type_=sa.Text))))


@last_step
def _number(session: Session) -> None:
    """The last step of every transaction that changed something: take the numbers, write the log."""
    notes = session.unsettled.pop("changes", [])
    if notes:
        _write(session, notes)
    tallies.follow_all(session)


def _write(session: Session, notes: list[dict[str, Any]]) -> None:
    last = session.settled["revision"] = TAKING.scalar(session, {"number": len(notes)})
    for seq, note in enumerate(notes, last - len(notes) + 1):
        note["seq"] = seq
    insert(session, CHANGE, notes)
    if not session.sqlite:
        TELLING.fetch(session, {"revision": str(last)})


def outdated(horizon: int) -> sa.ColumnElement[bool]:
    """Whether a change is one that the log forgets, or has only not forgotten yet."""
    later = CHANGE.alias()
    return sa.exists().where(
        later.c.entity == CHANGE.c.entity,
        later.c.key == CHANGE.c.key,
        later.c.seq > CHANGE.c.seq,
        later.c.seq <= horizon,
    )


def compact(database: Database, horizon: int) -> int:
    """Of the changes up to the horizon keep only the last one of each key; tells how many went.

    The horizon moves first: who comes too late is refused from then on, so that the rest can go little by little
    and nobody waits for it. The last change of a key that is gone stays for ever (see `_outlive`).
    """
    with database.writing() as session:
        ahead = (FEED.c.horizon < horizon) & (FEED.c.seq >= horizon)
        session.execute(sa.update(FEED).where(ahead).values(horizon=horizon))
    gone = 0
    for start in range(0, horizon, MOST_NOTES):
        with database.writing() as session:
            some = CHANGE.c.seq.between(start + 1, min(start + MOST_NOTES, horizon))
            gone += session.execute(sa.delete(CHANGE).where(some, outdated(horizon))).rowcount
    return gone


class Revision(NamedTuple):
    """Where this database stands: after `seq` changes, in the life named `epoch`, with what is left of its log.

    A number can come twice in one life, with another change, where a standby takes over that had not yet received the
    last ones, or a file is copied back. The mark, made of the time of the last change, tells the two apart.
    """

    epoch: str
    seq: int
    horizon: int
    mark: str

    @property
    def etag(self) -> str:
        """The tag of an answer that is a function of its request and the revision."""
        return self.tag(str(self.horizon))

    def tag(self, variant: str) -> str:
        """The same of an answer for which the horizon makes no difference, or whatever else it comes in."""
        return f'"{self.epoch[:8]}-{self.seq}-{self.mark}-{SOFTWARE}-{variant}"'


def mark_of(at: datetime | None) -> str:
    """The mark of a change; of none before the first one."""
    return f"{at.timestamp() * 1_000_000:.0f}" if at else "0"


STAND = sa.select(FEED.c.seq, FEED.c.epoch, FEED.c.horizon, CHANGE.c.at).select_from(
    FEED.outerjoin(CHANGE, CHANGE.c.seq == FEED.c.seq)
)
STAND_READ = Prepared(STAND)


@first_step
def _stand(session: Session) -> None:
    """What a request sees is a state with a number: it is read first, in the same snapshot."""
    found = STAND_READ.fetch(session)
    if not found:  # a backup is being restored: what was there before is gone for this snapshot, too
        raise busy()
    seq, epoch, horizon, at = found[0].values()
    session.info.update(
        epoch=epoch, revision=seq, horizon=horizon, mark=mark_of(at), shown=(seq, epoch, horizon)
    )


def revision(session: Session) -> Revision:
    session.connection()  # begins, if nothing was asked yet
    return Revision(*(session.info[name] for name in ("epoch", "revision", "horizon", "mark")))


async def _revision_read(session: Reading) -> Revision:
    return revision(session)


RevisionRead = Annotated[Revision, Depends(_revision_read)]
