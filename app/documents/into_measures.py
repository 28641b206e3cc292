"""The sections and measures of a document: known by their codes, made where they are new, never renamed by a guess."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any

import sqlalchemy as sa
from pydantic import BaseModel, ValidationError

from app.changes import Saved, save
from app.documents.codes import NO_SECTION
from app.documents.into_plans import IntoPlan, column_of
from app.documents.previewing import recode
from app.documents.reading import Problem as Unclear
from app.documents.refusing import Refused, all_told, unfit, warning
from app.documents.tables import MOST_PROBLEMS
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
        of_plan = sa.select(MEASURE.c.code, MEASURE.c.title, MEASURE.c.section)
        of_plan = of_plan.where(MEASURE.c.plan_id == self.plan).order_by(MEASURE.c.code_order)
        self.there = [tuple(row) for row in self.session.execute(of_plan)]
        self.before = {code: title for code, title, _ in self.there}
        if self.head["counted"]:
            self._recount(self.measures)
        self.lacking: list[Unclear] = []
        self._name_what_rows_name(self.measures, into.warnings)
        self.titles = {row["code"]: row["title"] for row in self.measures if row.get("title") is not None}
        self.sections_there = {
            *self.session.scalars(sa.select(SECTION.c.code).where(SECTION.c.plan_id == self.plan))
        }
        self.sections = self._sections()

    def confirm(self) -> None:
        """Refuse what does not fit together, or what is on record."""
        all_told(
            (
                self._refuse_lacking,
                self._refuse_renaming,
                self._refuse_renumbering,
                partial(self._check, NewSection, self.sections),
                self._check_measures,
                self._refuse_bare,
            )
        )

    def _recount(self, measures: list[dict[str, Any]]) -> None:
        """Measures without numbers are known by their titles: those that are here keep their codes.

        Of several with the same title, by the section, too, and those of one section by their order.
        """
        here: dict[tuple[str, str], list[str]] = defaultdict(list)
        for code, title, section in self.there:
            here[section, fold(title)].append(code)
        lacking = []
        for row in measures:
            if same := here[row["section"], fold(row["title"])]:
                self.codes[row["code"]] = same.pop(0)
            else:
                lacking.append(row)
        # One that is left of a title on both sides moved to another section.
        left = [(title, code) for (_, title), codes in here.items() for code in codes]
        once = Counter([title for title, _ in left] + [fold(row["title"]) for row in lacking])
        moved = {title: code for title, code in left if once[title] == 2}
        last = max((int(code) for code in self.before if code.isdecimal()), default=0)
        for row in lacking:
            if (code := moved.get(fold(row["title"]))) is None:
                last += 1
                code = str(last)
            self.codes[row["code"]] = code
        for row in measures:
            row["code"] = self.codes[row["code"]]
        recode(self.head.get("table", ()), self.codes)

    def _name_what_rows_name(self, measures: list[dict[str, Any]], warnings: list[dict[str, Any]]) -> None:
        """A list of evaluations tells enough of its measures to make those that are missing."""
        told = {row["code"] for row in measures}
        sections = {code: section for code, _, section in self.there}
        for code, named in self.part["named"].items():
            if code in told:
                continue
            if code in self.before:
                if named["title"] not in (None, self.before[code]):
                    warnings.append(warning(_other_title(code, self.before[code], named)))
                if named["section"] not in (None, sections[code]):
                    warnings.append(warning(_other_section(code, sections[code], named)))
            elif named["title"] is None or named["section"] is None:
                self.lacking.append(
                    Unclear(
                        named["line"],
                        None,
                        code,
                        f"施策 {excerpt(code)} は登録されていません。先に施策の一覧を取り込んでください。",
                        f"There is no measure {excerpt(code)}. Import the list of measures first.",
                    )
                )
            else:
                measures.append({"code": code, **named})

    def _refuse_lacking(self) -> None:
        if self.lacking:
            raise Refused(self.lacking)

    def _refuse_renaming(self) -> None:
        """Same code, another title: not guessed. What differs by width and spaces alone keeps its title."""
        renamed = []
        for row in self.measures:
            before = self.before.get(row["code"])
            if row.get("title") is None or before is None:
                continue
            if fold(before) == fold(row["title"]) and self.head["kind"] == "table":
                row["title"] = self.titles[row["code"]] = before
            elif before != row["title"]:
                renamed.append(row)
        self.renamed = [row["code"] for row in renamed]
        if renamed and self.told.on_rename != "update":
            here = {fold(title): code for code, title in self.before.items()}
            raise Refused(self._renamed(row, here.get(fold(row["title"]))) for row in renamed)

    def _renamed(self, row: dict[str, Any], other: str | None) -> Unclear:
        """One whose title is that of another measure here has most likely the wrong number."""
        code, before = row["code"], self.before[row["code"]]
        ja, en = (
            (
                "名称変更であれば on_rename=update を指定してください。別の施策であれば、番号を確かめてください。",
                "If it was renamed, tell on_rename=update; if it is another measure, check its number.",
            )
            if other is None
            else (
                f"「{row['title']}」は登録済みの施策 {other} の名称です。番号を確かめてください。",
                f"That is the title of measure {other}, which is on record. Check the number.",
            )
        )
        return Unclear(
            row["line"],
            column_of(self.head, "title"),
            excerpt(row["title"], 100),
            f"施策 {code} の名称が「{before}」から「{row['title']}」に変わっています。{ja}",
            f"Measure {code} was called {before!r} and is now {row['title']!r}. {en}",
            row.get("sheet"),
        )

    def _refuse_renumbering(self) -> None:
        """A new number for the title of one measure here, whose number this table does not have: not guessed."""
        if self.head["kind"] != "table":
            return
        numbers = {row["code"] for row in self.measures}
        times = Counter(fold(title) for _, title, _ in self.there)
        here = {fold(title): (code, section) for code, title, section in self.there if code not in numbers}
        doubtful = []
        for row in self.measures:
            code, section = here.get(fold(row["title"]), (None, None))
            alike = section == row["section"] or NO_SECTION in (section, row["section"])
            if code and alike and times[fold(row["title"])] == 1 and row["code"] not in self.before:
                doubtful.append((row, code))
        if doubtful and self.told.on_renumber != "new":
            raise Refused(
                Unclear(
                    row["line"],
                    column_of(self.head, "code"),
                    row["code"],
                    f"施策 {row['code']}「{excerpt(row['title'])}」と同じ名称の施策が、{code} として登録されています。"
                    "同じ施策であれば、表の番号を登録済みのものに合わせてください。"
                    "別の施策であれば on_renumber=new を指定してください。",
                    f"Measure {row['code']}, {excerpt(row['title'])}, has the title of measure {code}, which is on "
                    "record. If it is the same, give it that number in the table; if it is another one, tell "
                    "on_renumber=new.",
                    row.get("sheet"),
                )
                for row, code in doubtful
            )

    def _check_measures(self) -> None:
        usual = {"section": NO_SECTION, "title": "-"}  # what is told may leave out what is here
        self._check(
            NewMeasure, [usual | {name: cell for name, cell in row.items() if cell} for row in self.measures]
        )

    def _refuse_bare(self) -> None:
        lacking = [
            row
            for row in self.measures
            if row["code"] not in self.before and (row.get("section") is None or row.get("title") is None)
        ]
        if lacking:
            raise Refused(
                Unclear(
                    row["line"],
                    None,
                    row["code"],
                    f"施策 {excerpt(row['code'])} はまだないので、名称と節が必要です。",
                    f"Measure {excerpt(row['code'])} is new: tell its title and its section.",
                )
                for row in lacking
            )

    def _sections(self) -> list[dict[str, Any]]:
        """The sections that are told, and those that only measures name."""
        rows = [dict(row) for row in self.part["sections"]]
        known = {row["code"] for row in rows} | self.sections_there
        for row in self.measures:
            section = row.get("section")
            if section is not None and section not in known:
                known.add(section)
                rows.append({"line": row["line"], "code": section})
        return rows

    def save_sections(self) -> Saved:
        rows = self.sections
        positions = _positions(self.session, SECTION, self.plan, [row["code"] for row in rows])
        for row in rows:
            row.pop("line", None)
            if self.head["kind"] == "table":
                # What a table has no word for, it does not contradict.
                for name in ("label", "title"):
                    if row.get(name) is None and row["code"] in self.sections_there:
                        row.pop(name, None)
            row.setdefault("position", positions[row["code"]])
        return save(self.session, Section, [{"plan_id": self.plan, **row} for row in rows])

    def save_measures(self) -> Saved:
        positions = _positions(self.session, MEASURE, self.plan, [row["code"] for row in self.measures])
        sections = _ids(self.session, SECTION, self.plan)
        rows = []
        for told in self.measures:
            row = {name: value for name, value in told.items() if name not in ("line", "sheet", "section")}
            section = told.get("section")
            if section is not None:
                row["section_id"] = sections[section]
            rows.append({"plan_id": self.plan, "position": positions[row["code"]], **row})
        return save(self.session, Measure, rows)

    def ids(self) -> dict[str, int]:
        """By the codes of the plan's measures, once they are saved."""
        return _ids(self.session, MEASURE, self.plan)

    def _check(self, shape: type[BaseModel], rows: Iterable[dict[str, Any]]) -> None:
        problems: list[Unclear] = []
        for row in rows:
            told = {name: value for name, value in row.items() if name not in ("line", "sheet")}
            try:
                shape.model_validate({"plan": self.slug} | told)
            except ValidationError as error:
                problems += unfit(error, row.get("line"))
            if len(problems) > MOST_PROBLEMS:
                break
        if problems:
            raise Refused(problems)


def _other_title(code: str, before: str, named: Mapping[str, Any]) -> Unclear:
    return Unclear(
        named["line"],
        None,
        excerpt(named["title"], 100),
        f"施策 {code} の名称は「{before}」のままです。改めるには、施策の一覧を取り込んでください。",
        f"Measure {code} keeps its title {before!r}. To change it, import the list of measures.",
    )


def _other_section(code: str, before: str, named: Mapping[str, Any]) -> Unclear:
    return Unclear(
        named["line"],
        None,
        excerpt(str(named["section"]), 100),
        f"施策 {code} は節 {before} のままです。移すには、施策の一覧を取り込んでください。",
        f"Measure {code} stays in section {before}. To move it, import the list of measures.",
    )


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
