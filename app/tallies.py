"""How many rows have which rating in a year, of each section of a plan and of all plans together: counted with every
write, so that nobody counts them all."""

from collections import Counter
from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from app.kit.fetching import Prepared
from app.kit.session import Session
from app.models import EVALUATION, TAB, TALLY

Key = tuple[str, str, str, int, str]
KEY = ("plan", "municipality_code", "section", "fiscal_year", "rating")

ALL = ""  # in place of a plan, where the rows of all are counted


def follow(
    session: Session, rows: Iterable[tuple[Mapping[str, Any] | None, Mapping[str, Any] | None]]
) -> None:
    """Count these evaluations as they are, and no more as they were. Their plans are held by the caller."""
    moved: Counter[Key] = Counter()
    for before, after in rows:
        if before is not None:
            moved[_key(before)] -= 1
        if after is not None:
            moved[_key(after)] += 1
    _add(session, moved)
    of_all = session.unsettled.setdefault("of all", Counter())
    for (_, _, _, year, rating), n in moved.items():
        of_all[ALL, ALL, ALL, year, rating] += n


def follow_all(session: Session) -> None:
    """Count for all plans what was counted for some. Every writer comes here: only who commits next may."""
    _add(session, session.unsettled.pop("of all", {}))


def _add(session: Session, moved: Mapping[Key, int]) -> None:
    changed = {key: n for key, n in sorted(moved.items()) if n}
    if not changed:
        return
    counts = [dict(zip(KEY, key, strict=True), n=n) for key, n in changed.items()]
    _adding(session.dialect.name).run(session, counts)
    if less := {plan for (plan, *_), n in changed.items() if n < 0}:
        session.execute(sa.delete(TALLY).where(TALLY.c.plan.in_(less), TALLY.c.n == 0))


@cache
def _adding(dialect: str) -> Prepared:
    insert = (sqlite if dialect == "sqlite" else postgresql).insert(TALLY)
    added = {"n": TALLY.c.n + insert.excluded.n}
    return Prepared(insert.on_conflict_do_update(index_elements=KEY, set_=added))


def _key(row: Mapping[str, Any]) -> Key:
    plan, _, _ = row["place"].partition(TAB)
    return plan, row["municipality_code"], row["section"], row["fiscal_year"], row["rating"] or ""


def wrong(session: Session) -> Iterable[tuple[Key, int, int]]:
    """What differs from a full count: what was kept and what there is."""
    kept = {
        tuple(row[:-1]): row.n
        for row in session.execute(sa.select(*(TALLY.c[name] for name in KEY), TALLY.c.n))
    }
    there: Counter[Any] = Counter()
    columns = (EVALUATION.c[name] for name in ("place", *KEY[1:]))
    for row in session.execute(sa.select(*columns).execution_options(yield_per=1_000)).mappings():
        key = _key(dict(row))
        there[key] += 1
        there[ALL, ALL, ALL, *key[3:]] += 1
    for key in sorted({*kept, *there}):
        if kept.get(key, 0) != there[key]:
            yield key, kept.get(key, 0), there[key]
