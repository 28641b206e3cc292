"""Whether the log and the tables of this database say the same: what `changes` promises, held against the data."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

import orjson
import sqlalchemy as sa
from sqlmodel import SQLModel

from app import tallies
from app.changes import CHUNK, ENTITIES, Entity, parents_of
from app.kit import search
from app.kit.session import Session
from app.models import CHANGE, DOCUMENT, EVALUATION, FEED, MEASURE, SECTION, TALLY

MOST_TOLD = 20  # of one kind: who sees that many knows enough


@dataclass
class Examined:
    """One thing that was looked at: how much of it there is, and what is wrong with it."""

    what: str
    seen: int = 0
    wrong: int = 0
    told: list[str] = field(default_factory=list)

    def add(self, finding: str) -> None:
        self.wrong += 1
        if len(self.told) < MOST_TOLD:
            self.told.append(finding)


def examine(session: Session) -> Iterator[Examined]:
    """Every examination, one after the other, of one snapshot: it may run while others write."""
    for look in (_file, _numbers, _entries, _rows, _words, _tallies, _removals, _parents, _documents):
        try:
            yield look(session)
        except (sa.exc.StatementError, ValueError, TypeError) as error:  # a value that its column cannot have
            unreadable = Examined(f"values could be read by {look.__name__.strip('_')}")
            unreadable.add(str(getattr(error, "orig", None) or error).splitlines()[0])
            yield unreadable


def _file(session: Session) -> Examined:
    found = Examined("pages of the file are sound")
    if not session.sqlite:
        found.what = "database server, which looks after its own files"
        return found
    found.seen = session.scalar(sa.text("PRAGMA page_count")) or 0
    for (said,) in session.execute(sa.text(f"PRAGMA integrity_check({MOST_TOLD})")):
        if said != "ok":
            found.add(said)
    return found


def _numbers(session: Session) -> Examined:
    """From the horizon to the revision each number stands once; below it nothing of a later time."""
    found = Examined("changes are numbered without a gap up to the revision")
    feed = session.execute(sa.select(FEED)).all()
    if len(feed) != 1:
        found.add(f"the table feed has {len(feed)} rows and not one")
        return found
    seq, horizon = feed[0].seq, feed[0].horizon
    above = CHANGE.c.seq > horizon
    found.seen, first, last = session.execute(
        sa.select(sa.func.count(), sa.func.min(CHANGE.c.seq), sa.func.max(CHANGE.c.seq)).where(above)
    ).one()
    if not feed[0].epoch:
        found.add("the database has no epoch")
    if not 0 <= horizon <= seq:
        found.add(f"the horizon {horizon} lies beyond the revision {seq}")
    if found.seen and first != horizon + 1:
        found.add(f"the changes begin at {first} and not at {horizon + 1}")
    if (last or horizon) != seq:
        found.add(f"the last change is {last or horizon}, the revision {seq}")
    following = sa.select(
        CHANGE.c.seq, sa.func.lag(CHANGE.c.seq).over(order_by=CHANGE.c.seq).label("before")
    ).where(above)
    pairs = following.subquery()
    gaps = sa.select(pairs).where(pairs.c.seq != pairs.c.before + 1).limit(MOST_TOLD)
    for gap in session.execute(gaps):
        found.add(f"after change {gap.before} comes {gap.seq}")
    return found


def _entries(session: Session) -> Examined:
    """Each change tells a row or its removal, and its place is that of its key."""
    found = Examined("changes tell a row or its removal, in the place of their key")
    found.seen = session.scalar(sa.select(sa.func.count()).select_from(CHANGE)) or 0
    prefix = CHANGE.c.plan + "/"
    placed = sa.or_(
        CHANGE.c.key == CHANGE.c.plan, sa.func.substr(CHANGE.c.key, 1, sa.func.length(prefix)) == prefix
    )
    told = (CHANGE.c.op == "delete") == CHANGE.c.data.is_(None)
    known = CHANGE.c.entity.in_(ENTITIES) & CHANGE.c.op.in_(("create", "update", "delete"))
    for seq in session.scalars(
        sa.select(CHANGE.c.seq).where(~sa.and_(placed, told, known)).order_by(CHANGE.c.seq)
    ):
        found.add(f"change {seq} contradicts itself")
    return found


def _rows(session: Session) -> Examined:
    """The last change of each row's key is about this row, and says what the row is."""
    found = Examined("rows are what their last change says")
    for entity in ENTITIES.values():
        for some in _chunks(session, entity.table.c.id):
            found.seen += len(some)
            for finding in _differing(session, entity, some):
                found.add(finding)
    return found


def _words(session: Session) -> Examined:
    found = Examined("words of rows are known to the index of searches")
    for entity in ENTITIES.values():
        if not entity.searched:
            continue
        id, text = entity.table.c.id, entity.table.c.folded
        for some in _chunks(session, id):
            found.seen += len(some)
            texts = {row.id: row.folded for row in session.execute(sa.select(id, text).where(id.in_(some)))}
            for missed in sorted(search.missed(session, entity.table, texts)):
                found.add(f"{entity.name} {missed} would be missed by a search")
    return found


def _tallies(session: Session) -> Examined:
    found = Examined("rows are as many as was counted with each write")
    found.seen = session.scalar(sa.select(sa.func.sum(TALLY.c.n)).where(TALLY.c.plan == tallies.ALL)) or 0
    for (plan, _, section, year, rating), kept, there in tallies.wrong(session):
        of = f"{plan}/{section}" if plan else "all plans"
        found.add(f"{of} {year} {rating or 'not rated'}: {kept} were counted, and {there} are there")
    return found


def _differing(session: Session, entity: Entity, ids: Sequence[int]) -> Iterator[str]:
    records = session.execute(entity.record.where(entity.table.c.id.in_(ids))).mappings().all()
    keys = [record["_key"] for record in records]
    of_key = (CHANGE.c.entity == entity.name) & CHANGE.c.key.in_(keys)
    last = sa.select(sa.func.max(CHANGE.c.seq)).where(of_key).group_by(CHANGE.c.key)
    entries = {entry.key: entry for entry in session.execute(sa.select(CHANGE).where(CHANGE.c.seq.in_(last)))}
    tables = session.execute(sa.select(entity.table).where(entity.table.c.id.in_(ids))).mappings()
    rows = {row["id"]: dict(row) for row in tables}
    parent_of = parents_of(session, entity, rows.values())
    if len(records) != len(ids):
        lost = set(ids) - {record["id"] for record in records}
        yield from (f"{entity.name} {id} has no plan or no other parent" for id in sorted(lost))
    for record in records:
        data = dict(record)
        key, plan, municipality = (data.pop(name) for name in ("_key", "_plan", "_municipality_code"))
        name = f"{entity.name} {key}"
        entry = entries.get(key)
        if entry is None:
            yield f"{name} has no entry in the log"
        elif entry.data is None:
            yield f"{name} was removed by change {entry.seq} and is there"
        elif (entry.entity_id, entry.plan, entry.municipality_code) != (data["id"], plan, municipality):
            yield f"{name}: change {entry.seq} is about another row or place"
        elif differing := _unequal(entry, data):
            yield f"{name} is not what change {entry.seq} says: {', '.join(differing)}"
        row = rows[data["id"]]
        derived = entity.model.derived(row, parent_of(row))
        stale = [column for column, value in derived.items() if row[column] != value]
        if stale:
            yield f"{name}: {', '.join(stale)} does not follow from its other columns or its parent"


def _unequal(entry: sa.Row[Any], record: dict[str, Any]) -> list[str]:
    """The names of the columns that differ."""
    try:
        said = orjson.loads(entry.data) | {"version": entry.version}
    except (ValueError, TypeError):
        return ["no JSON object"]
    there = orjson.loads(orjson.dumps(record, option=orjson.OPT_UTC_Z))
    return sorted(name for name in said.keys() | there.keys() if said.get(name) != there.get(name))


def _removals(session: Session) -> Examined:
    """A key whose last change did not remove it has its row."""
    found = Examined("keys in the log have their row, or were removed")
    last = sa.select(sa.func.max(CHANGE.c.seq)).group_by(CHANGE.c.entity, CHANGE.c.key)
    found.seen = session.scalar(sa.select(sa.func.count()).select_from(last.subquery())) or 0
    for entity in ENTITIES.values():
        there = sa.exists().where(entity.table.c.id == CHANGE.c.entity_id)
        wanted = (CHANGE.c.entity == entity.name) & (CHANGE.c.op != "delete") & CHANGE.c.seq.in_(last)
        for seq, key in session.execute(sa.select(CHANGE.c.seq, CHANGE.c.key).where(wanted, ~there)):
            found.add(f"{entity.name} {key} is missing, and change {seq} says that it is there")
    return found


def _parents(session: Session) -> Examined:
    """What points at another row finds it, and in the same plan."""
    found = Examined("references lead to a row of the same plan")
    for table in SQLModel.metadata.sorted_tables:
        for key in sorted(table.foreign_keys, key=lambda key: key.parent.name):
            parent = key.column.table.alias()
            pointing = key.parent.is_not(None)
            found.seen += session.scalar(sa.select(sa.func.count()).select_from(table).where(pointing)) or 0
            lost = sa.select(table.c.id).where(
                pointing, ~sa.exists().where(parent.c[key.column.name] == key.parent)
            )
            for id in session.scalars(lost):
                found.add(f"{table.name} {id}: its {key.parent.name} leads nowhere")
    elsewhere = {
        "measure": sa.select(MEASURE.c.id)
        .join(SECTION, MEASURE.c.section_id == SECTION.c.id)
        .where(SECTION.c.plan_id != MEASURE.c.plan_id),
        "evaluation": sa.select(EVALUATION.c.id)
        .join(MEASURE, EVALUATION.c.measure_id == MEASURE.c.id)
        .join(DOCUMENT, EVALUATION.c.document_id == DOCUMENT.c.id)
        .where(DOCUMENT.c.plan_id != MEASURE.c.plan_id),
    }
    for noun, strangers in elsewhere.items():
        for id in session.scalars(strangers):
            found.add(f"{noun} {id} points at a row of another plan")
    return found


def _documents(session: Session) -> Examined:
    found = Examined("documents are, byte for byte, what their hash says")
    for some in _chunks(session, DOCUMENT.c.id, 1):  # a file may be large
        [document] = session.execute(sa.select(DOCUMENT).where(DOCUMENT.c.id.in_(some))).all()
        found.seen += 1
        if (sha256(document.content).hexdigest(), len(document.content)) != (document.sha256, document.size):
            found.add(f"document {document.id} ({document.name}) is not the file that its hash is of")
    return found


def _chunks(session: Session, id: sa.Column[int], size: int = CHUNK) -> Iterator[Sequence[int]]:
    """All ids of a table, some at a time."""
    last = 0
    while some := session.scalars(sa.select(id).where(id > last).order_by(id).limit(size)).all():
        yield some
        last = some[-1]
