"""What a process does that writes until it is ended: transactions over several rows, as fast as they go.

Planted is a fault: numbers from a sequence, as feeds often have.
"""

import time
from collections.abc import Sequence
from random import Random

import sqlalchemy as sa

from app import changes
from app.changes import PLANS_BY_SLUG, hold, remove, save
from app.kit.database import Database
from app.kit.session import LAST_STEPS, Session, last_step
from app.kit.watch import CHANNEL
from app.models import CHANGE, PLAN, Evaluation, Measure, Section


def plant_a_sequence() -> None:
    """Each transaction takes its numbers when it writes, and commits whenever it is done."""
    LAST_STEPS.remove(changes._number)

    @last_step
    def number(session: Session) -> None:
        notes = session.unsettled.pop("changes", [])
        for note in notes:
            note["seq"] = session.scalar(sa.text("SELECT nextval('planted')"))
        if notes:
            session.execute(sa.insert(CHANGE), notes)
            time.sleep(Random().random() * 0.02)
            last = {"last": notes[-1]["seq"]}
            session.execute(sa.text("UPDATE feed SET seq = greatest(seq, :last)"), last)
            session.execute(sa.text(f"SELECT pg_notify('{CHANNEL}', '0')"))


def write(url: str, name: str, planted: Sequence[str]) -> None:
    if planted:
        plant_a_sequence()
    chance, commits = Random(name), 0
    database = Database(url, pool_size=1, busy_timeout=60)
    while True:
        commits += 1
        slug, codes = f"p{chance.randrange(6)}", chance.sample(range(12), 2)
        with database.writing() as session:
            plan = session.scalars(sa.select(PLAN.c.id).where(PLAN.c.slug == slug)).one()
            hold(session, PLANS_BY_SLUG, [(slug,)])
            row = {"plan_id": plan, "code": str(chance.randrange(4)), "title": f"{name} {commits}"}
            [section] = save(session, Section, [row]).ids
            row = {"plan_id": plan, "section_id": section, "title": str(chance.randrange(5))}
            measures = save(session, Measure, [{**row, "code": str(code)} for code in codes]).ids
            row = {"fiscal_year": 2017, "ordinal": 1, "rationale": f"{name} {commits}"}
            save(session, Evaluation, [{**row, "measure_id": measure} for measure in measures])
            if chance.random() < 0.1:
                remove(session, Measure, measures[:1])
            if chance.random() < 0.05:
                session.rollback()  # it was not to be
