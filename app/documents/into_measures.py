"""The sections and measures of a document: known by their codes, made where they are new, never renamed by a guess."""

from collections.abc import Iterable, Sequence
from typing import Any

import sqlalchemy as sa
from pydantic import BaseModel, ValidationError

from app.changes import Saved, save
from app.documents.into_plans import IntoPlan, column_of
from app.documents.previewing import recode
from app.documents.reading import Problem as Unclear
from app.documents.refusing import Refused, refused
from app.kit.session import Session
from app.kit.text import excerpt, fold
from app.measures import NewMeasure
from app.models import MEASURE, SECTION, Measure, Section
from app.sections import NewSection


class IntoMeasures:
    """What the part of a document that is about one plan says of its sections and measures."""

    def __init__(self, into: IntoPlan) -> None:
        self.session, self.slug, self.part, self.head = into.session, into.slug, into.part, into.head
        self.told, self.plan = into.told, into.id
        self.codes: dict[str, str] = {}  # of measures that were counted: what they are called here
        self.measures = self.part["measures"]
        of_plan = sa.select(MEASURE.c.code, MEASURE.c.title).where(MEASURE.c.plan_id == self.plan)
        self.before = dict(self.session.execute(of_plan.order_by(MEASURE.c.code_order)).all())
        if self.head["counted"]:
            self._recount(self.measures)
        self._name_what_rows_name(self.measures)
        self.titles = {row["code"]: row["title"] for row in self.measures if row.get("title") is not None}
        self._refuse_renaming(self.measures)

    def _recount(self, measures: list[dict[str, Any]]) -> None:
        """Measures without numbers are known by their titles: those that are here keep their codes."""
        here = {fold(title): code for code, title in self.before.items()}
        last = max((int(code) for code in self.before if code.isdecimal()), default=0)
        for row in measures:
            if (code := here.get(fold(row["title"]))) is None:
                last += 1
                code = str(last)
            self.codes[row["code"]] = row["code"] = code
        recode(self.head.get("table", ()), self.codes)

    def _name_what_rows_name(self, measures: list[dict[str, Any]]) -> None:
        """A list of evaluations tells enough of its measures to make those that are missing."""
        told = {row["code"] for row in measures}
        lacking = []
        for code, named in self.part["named"].items():
            if code in told or code in self.before:
                continue
            if named["title"] is None or named["section"] is None:
                lacking.append(code)
            else:
                measures.append({"line": None, "code": code, **named})
        if lacking:
            raise Refused(
                Unclear(
                    None,
                    None,
                    code,
                    f"施策 {excerpt(code)} は登録されていません。先に施策の一覧を取り込んでください。",
                    f"There is no measure {excerpt(code)}. Import the list of measures first.",
                )
                for code in lacking
            )

    def _refuse_renaming(self, measures: Sequence[dict[str, Any]]) -> None:
        """Same code, another title: not guessed. What differs by width and spaces alone keeps its title."""
        renamed = []
        for row in measures:
            before = self.before.get(row["code"])
            if row.get("title") is None or before is None:
                continue
            if fold(before) == fold(row["title"]) and self.head["kind"] == "table":
                row["title"] = self.titles[row["code"]] = before
            elif before != row["title"]:
                renamed.append(row)
        self.renamed = [row["code"] for row in renamed]
        if renamed and self.told.on_rename != "update":
            raise Refused(
                Unclear(
                    row["line"],
                    column_of(self.head, "title"),
                    excerpt(row["title"], 100),
                    f"施策 {row['code']} の名称が「{self.before[row['code']]}」から「{row['title']}」に"
                    "変わっています。名称変更であれば on_rename=update を指定してください。"
                    "別の施策であれば、番号を確かめてください。",
                    f"Measure {row['code']} was called {self.before[row['code']]!r} and is now {row['title']!r}. "
                    "If it was renamed, tell on_rename=update; if it is another measure, check its number.",
                    row.get("sheet"),
                )
                for row in renamed
            )

    def save_sections(self) -> Saved:
        rows = [dict(row) for row in self.part["sections"]]
        known = {row["code"] for row in rows}
        there = dict(
            self.session.execute(
                sa.select(SECTION.c.code, SECTION.c.label).where(SECTION.c.plan_id == self.plan)
            ).all()
        )
        for row in self.part["measures"]:
            section = row.get("section")
            if section is not None and section not in known and section not in there:
                known.add(section)
                rows.append({"line": row["line"], "code": section})
        positions = _positions(self.session, SECTION, self.plan, [row["code"] for row in rows])
        for row in rows:
            self._check(NewSection, row)
            row.pop("line", None)
            if self.head["kind"] == "table":
                # What a table has no word for, it does not contradict.
                for name in ("label", "title"):
                    if row.get(name) is None and row["code"] in there:
                        row.pop(name, None)
            row.setdefault("position", positions[row["code"]])
        return save(self.session, Section, [{"plan_id": self.plan, **row} for row in rows])

    def save_measures(self) -> Saved:
        positions = _positions(self.session, MEASURE, self.plan, [row["code"] for row in self.measures])
        sections = _ids(self.session, SECTION, self.plan)
        rows = []
        for told in self.measures:
            row = {name: value for name, value in told.items() if name not in ("line", "sheet", "section")}
            self._check(
                NewMeasure, {**told, "section": told.get("section") or "0", "title": told.get("title") or "-"}
            )
            section = told.get("section")
            if section is not None:
                if section not in sections:
                    raise Refused(
                        [
                            Unclear(
                                told["line"],
                                None,
                                section,
                                f"節 {excerpt(section)} は登録されていません。先に節の一覧を取り込んでください。",
                                f"There is no section {excerpt(section)}. Import the list of sections first.",
                            )
                        ]
                    )
                row["section_id"] = sections[section]
            if row["code"] not in self.before and ("section_id" not in row or row.get("title") is None):
                raise Refused(
                    [
                        Unclear(
                            told["line"],
                            None,
                            row["code"],
                            f"施策 {excerpt(row['code'])} はまだないので、名称と節が必要です。",
                            f"Measure {excerpt(row['code'])} is new: tell its title and its section.",
                        )
                    ]
                )
            rows.append({"plan_id": self.plan, "position": positions[row["code"]], **row})
        return save(self.session, Measure, rows)

    def ids(self) -> dict[str, int]:
        """By the codes of the plan's measures, once they are saved."""
        return _ids(self.session, MEASURE, self.plan)

    def _check(self, shape: type[BaseModel], row: dict[str, Any]) -> None:
        try:
            shape.model_validate(
                {"plan": self.slug}
                | {name: value for name, value in row.items() if name not in ("line", "sheet")}
            )
        except ValidationError as error:
            raise refused(error, row.get("line") or 0) from None


def _ids(session: Session, table: sa.Table, plan: int) -> dict[str, int]:
    ids = sa.select(table.c.code, table.c.id).where(table.c.plan_id == plan)
    return dict(session.execute(ids).all())


def _positions(session: Session, table: sa.Table, plan: int, codes: Iterable[str]) -> dict[str, int | None]:
    """Where each stands in the plan: what is known keeps its place, what is new follows in the document's order."""
    there = sa.select(table.c.code, table.c.position).where(table.c.plan_id == plan)
    positions: dict[str, int | None] = dict(session.execute(there).all())
    last = max((position for position in positions.values() if position is not None), default=0)
    for code in codes:
        if code not in positions:
            last += 1
            positions[code] = last
    return positions
