"""From what a document says to rows: all of it or nothing, and twice is once."""

import hashlib
import json
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import IO, Annotated, Any, Literal

import sqlalchemy as sa
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from sqlmodel import Session

from app import plans
from app.access import Writer
from app.changes import ENTITIES, Saved, hold, parents_of, save
from app.documents import apart
from app.documents.apart import Understood
from app.documents.marks import STOPPED
from app.documents.previewing import recode, shows
from app.documents.reading import MEDIA_TYPES, Unreadable, kind_of
from app.documents.reading import Problem as Unclear
from app.documents.vocabulary import FIELDS, of_a_year, plain
from app.fiscal_years import FiscalYearParameter
from app.kit.bulk import among
from app.kit.errors import Finding, Invalid, Say
from app.kit.text import ONE_LINE, excerpt, fold, refusal
from app.measures import NewMeasure
from app.models import (
    DOCUMENT,
    EVALUATION,
    EVALUATION_KEY,
    MEASURE,
    PLAN,
    SECTION,
    Document,
    Evaluation,
    Label,
    Measure,
    Plan,
    PlanFields,
    Section,
    Slug,
    Title,
)
from app.municipalities import MunicipalityCode
from app.sections import NewSection

MOST_WARNINGS = 1_000


class ColumnTold(BaseModel):
    model_config = ConfigDict(extra="forbid")

    field: Annotated[str, Field(max_length=20)]
    fiscal_year: FiscalYearParameter | None = None
    name: Label | None = None  # that a column without a field of its own is kept under


def _mapping(given: Any) -> Any:
    """As JSON text, as an object of columns, or as a report lists it."""
    if isinstance(given, str):
        try:
            given = json.loads(given)
        except ValueError:
            raise refusal(
                "mapping", "mapping は JSON で書いてください。", "Write the mapping as JSON."
            ) from None
    if isinstance(given, list):
        listed: dict[str, Any] = {}
        for each in given:
            if not isinstance(each, dict) or not isinstance(each.get("column"), int):
                raise _no_mapping()
            told = {name: value for name, value in each.items() if name not in ("column", "header")}
            if listed.setdefault(str(each["column"]), told) != told:
                listed[str(each["column"])].pop("fiscal_year", None)  # sheets of several years tell theirs
        given = listed
    if not isinstance(given, dict):
        raise _no_mapping()
    columns = {}
    for name, told in given.items():
        told = {"field": told} if isinstance(told, str) else told
        if not isinstance(told, dict) or told.get("field") not in FIELDS:
            raise _no_mapping()
        columns[name if name.isascii() and name.isdecimal() else plain(name)] = told
    return columns


def _no_mapping() -> Exception:
    fields = ", ".join(FIELDS)
    return refusal(
        "mapping",
        f'mapping は {{"列の番号か見出し": "項目"}} の形で書いてください。項目は {fields} のいずれかです。',
        f'Write the mapping like {{"column or header": "field"}}; the fields are {fields}.',
    )


class Told(BaseModel):
    """What a document does not say about itself: given beside it, as `seed/fujimi-h29.toml` does."""

    model_config = ConfigDict(extra="forbid")

    plan: Annotated[Slug, Field(description="Slug of the plan that the document is about (計画)")] | None = (
        None
    )
    municipality_code: (
        Annotated[
            MunicipalityCode,
            Field(description="Its municipality, to make a plan that does not exist yet (市区町村コード)"),
        ]
        | None
    ) = None
    municipality: (
        Annotated[Label, Field(description="The municipality's name, for the same (市区町村名)")] | None
    ) = None
    title: (
        Annotated[
            Title,
            Field(
                description="The title of that plan, where the document's own is that of a report (計画名)"
            ),
        ]
        | None
    ) = None
    encoding: (
        Annotated[
            str,
            Field(
                max_length=20,
                description="Character encoding, where it is not recognised: utf-8, utf-16, cp932 (文字コード)",
            ),
            ONE_LINE,
        ]
        | None
    ) = None
    fiscal_year: (
        Annotated[
            FiscalYearParameter, Field(description="The year it reports on, where it does not say (年度)")
        ]
        | None
    ) = None
    sheet: (
        Annotated[
            str,
            Field(
                max_length=300, description="Sheets to read, by comma; all with a table otherwise (シート名)"
            ),
            ONE_LINE,
        ]
        | None
    ) = None
    mapping: (
        Annotated[
            dict[str, ColumnTold],
            BeforeValidator(_mapping),
            Field(
                description="What columns are, by their number or header: it wins over recognition (列の対応)"
            ),
        ]
        | None
    ) = None
    numbering: (
        Annotated[
            Literal["order"],
            Field(description="Count measures without numbers in their order (番号のない計画)"),
        ]
        | None
    ) = None
    on_repeat: (
        Annotated[
            Literal["skip", "keep"],
            Field(description="What to do with rows that say 再掲 and differ from the first (再掲の行)"),
        ]
        | None
    ) = None
    on_rename: (
        Annotated[
            Literal["update"],
            Field(description="Give measures the titles that the document has (名称の変更)"),
        ]
        | None
    ) = None

    def asked(self) -> dict[str, Any]:
        """What the recogniser needs of it."""
        return {
            "fiscal_year": self.fiscal_year,
            "sheets": [name.strip() for name in self.sheet.split(",")] if self.sheet else [],
            "mapping": {name: column.model_dump() for name, column in (self.mapping or {}).items()},
            "numbering": self.numbering,
            "on_repeat": self.on_repeat,
        }


class Refused(Invalid):
    """A document with lines that were not understood. Nothing of it was written."""

    def __init__(self, unclear: Iterable[Unclear], head: dict[str, Any] | None = None) -> None:
        self.unclear = list(unclear)
        places = [{name: getattr(each, name) for name in ("line", "column", "text")} for each in self.unclear]
        findings = [
            Finding(Say(each.ja, each.en), place=place | ({"sheet": each.sheet} if each.sheet else {}))
            for each, place in zip(self.unclear, places, strict=True)
        ]
        super().__init__(*findings)
        self.findings = findings  # all of them: they are to be corrected in one go
        if head:
            self.tell(head)

    def tell(self, head: dict[str, Any]) -> None:
        """What was understood all the same, so that it can be corrected."""
        if head["counted"]:  # what they will be called is not known yet
            recode(head.get("table", ()), {})
        names = ("title", "subtitle", "fiscal_years", "mapping", "table")
        told = {name: head[name] for name in names if name in head}
        warnings = [_warning(Unclear(**each)) for each in head["warnings"]]
        self.members["report"] = told | {"warnings": warnings}


def _warning(unclear: Unclear) -> dict[str, Any]:
    place = {name: getattr(unclear, name) for name in ("sheet", "line", "column", "text")}
    return {"ja": unclear.ja, "en": unclear.en, **{name: value for name, value in place.items() if value}}


# ---------------------------------------------------------------------------------------------------------


@contextmanager
def understood(file: IO[bytes], name: str, told: Told, lines: int = 0) -> Iterator[Understood]:
    """What the file says; refused with all that was not understood. No transaction should be open meanwhile."""
    try:
        with apart.understood(file, name, told.encoding, told.asked(), lines) as found:
            if found.problems:
                raise Refused(found.problems, found.head if "mapping" in found.head else None)
            yield found
    except Unreadable as unreadable:
        raise Refused([unreadable.problem]) from None


def explain(refused: Refused, found: Understood, file: IO[bytes], name: str, told: Told, lines: int) -> None:
    """What does not fit what is on record was understood, too. Its lines are looked up where they are not shown."""
    head = found.head
    places = [
        (each.sheet, each.line)
        for each in refused.unclear
        if each.line is not None and len(each.sheet or "") < 50  # the child is asked by its command line
    ]
    if lines and not all(shows(head["table"], place) for place in places):
        with (
            suppress(Unreadable),
            apart.understood(file, name, told.encoding, told.asked(), lines, places) as more,
        ):
            head = more.head
    refused.tell(head)


def import_document(session: Session, content: bytes, name: str, told: Told) -> dict[str, Any]:
    """Write what the document says and tell what came of it. The transaction is the caller's."""
    with tempfile.TemporaryFile() as file:
        file.write(content)
        with understood(file, name, told) as found:
            return take_in(session, found, file, name, told)


def take_in(
    session: Session,
    found: Understood,
    file: IO[bytes],
    name: str,
    told: Told,
    writer: Writer | None = None,
    progress: Callable[[int], None] = lambda done: None,
) -> dict[str, Any]:
    """Write what was understood and tell what came of it. The transaction is the caller's."""
    head = found.head
    parts = {slug or told.plan or "": part for slug, part in head["parts"].items()}
    if "" in parts:
        raise Invalid(
            Finding(
                Say(
                    "どの計画の資料か分かりません。plan に計画の識別名を指定してください。",
                    "Tell which plan the document is about, with plan: its slug.",
                ),
                parameter="plan",
            )
        )
    if told.plan is not None and (others := [slug for slug in parts if slug != told.plan]):
        raise Invalid(
            Finding(
                Say(
                    f"このファイルには計画 {excerpt(others[0])} の行もあります。"
                    "plan を外すか、その行を除いてください。",
                    f"The file has rows of the plan {excerpt(others[0])}, too. Leave plan out, or remove them.",
                ),
                parameter="plan",
            )
        )
    imports = {
        slug: _Import(session, found, file, name, told, writer, slug, part, keep=len(parts) == 1)
        for slug, part in sorted(parts.items())
    }
    for each in imports.values():
        each.prepare()
    done = 0
    for chunk in found.evaluations():
        done += len(chunk)
        progress(done)
        for slug, each in imports.items():
            each.evaluate([row for row in chunk if (row["plan"] or told.plan) == slug])
    for each in imports.values():
        each.finish()
    reports = [each.report() for each in imports.values()]
    if len(reports) == 1:
        return reports[0]
    together = reports[0] | {"document": None, "title": None}
    for what in ("created", "updated", "unchanged"):
        together[what] = {noun: sum(each[what][noun] for each in reports) for noun in reports[0][what]}
    for what in ("new", "missing", "renamed"):
        together["measures"][what] = [
            f"{slug}/{code}" for slug, each in imports.items() for code in each.report()["measures"][what]
        ]
    together["warnings"] = [warning for each in reports for warning in each["warnings"]][:MOST_WARNINGS]
    return together


class _Import:
    """The part of a document that is about one plan."""

    def __init__(
        self,
        session: Session,
        found: Understood,
        file: IO[bytes],
        name: str,
        told: Told,
        writer: Writer | None,
        slug: str,
        part: dict[str, Any],
        *,
        keep: bool,
    ) -> None:
        self.session, self.found, self.head, self.told, self.writer = session, found, found.head, told, writer
        self.file, self.name, self.slug, self.part, self.keep = file, name, slug, part, keep
        nothing = Saved([], 0, 0, 0)
        self.counts = dict.fromkeys(("plan", "document", "section", "measure", "evaluation"), nothing)
        self.warnings = [_warning(each) for each in found.warnings]
        self.document: int | None = None
        self.seen: set[int] = set()
        self.codes: dict[str, str] = {}  # of measures that were counted: what they are called here
        self.stopped: set[str] = set()  # marks that are no ratings here

    # ---- plan, sections, measures

    def prepare(self) -> None:
        self.plan = self._plan()
        measures = self.part["measures"]
        of_plan = sa.select(MEASURE.c.code, MEASURE.c.title).where(MEASURE.c.plan_id == self.plan)
        self.before = dict(self.session.execute(of_plan.order_by(MEASURE.c.code_order)).all())
        if self.head["counted"]:
            self._recount(measures)
        self._name_what_rows_name(measures)
        self.titles = {row["code"]: row["title"] for row in measures if row.get("title") is not None}
        self._refuse_renaming(measures)
        self._rate()
        self.document = self._document_there()
        if self.document is None and self.counts["plan"].created and self.keep:
            self.document = self._save_document()
        self.counts["section"] = self._save_sections()
        self.counts["measure"] = self._save_measures(measures)
        self.ids = _ids(self.session, MEASURE, self.plan)
        self.fresh = self.counts["plan"].created > 0

    def _plan(self) -> int:
        which = PLAN.c.slug == self.slug
        hold(self.session, sa.select(PLAN.c.id).where(which))
        there = self.session.execute(
            sa.select(PLAN.c.id, PLAN.c.municipality_code).where(which)
        ).one_or_none()
        told = self._told_of_plan()
        code = told.get("municipality_code")
        if there is not None:
            if self.writer:
                self.writer.must_be_allowed(there.municipality_code)
            if code not in (None, there.municipality_code):
                raise Invalid(
                    Finding(
                        Say(
                            f"計画 {self.slug} は自治体 {there.municipality_code} のもので、{code} "
                            "のものではありません。計画名か自治体コードを確かめてください。",
                            f"The plan {self.slug} is one of municipality {there.municipality_code} and not of "
                            f"{code}. Check the plan's name or the municipality code.",
                        ),
                        parameter="municipality_code",
                    )
                )
            self.counts["plan"] = Saved([there.id], 0, 0, 1)
            if self.part["plan"]:
                self.counts["plan"] = save(self.session, Plan, [{"slug": self.slug, **told}])
            id: int = there.id
            return id
        missing = [name for name in ("municipality_code", "municipality", "title") if not told.get(name)]
        if missing and missing != ["title"]:
            raise Invalid(
                Finding(
                    Say(
                        f"計画 {self.slug} はまだありません。"
                        "作成するには municipality_code と municipality が必要です。",
                        f"There is no plan {self.slug} yet. To make it, tell municipality_code and municipality.",
                    ),
                    parameter=missing[0],
                )
            )
        if missing:
            raise Refused(
                [
                    Unclear(
                        None,
                        None,
                        "",
                        "題名がありません。見出しより上の行に計画の題名を書くか、title で計画名を指定してください。",
                        "There is no title. Write the plan's title on a line above the header, or tell it with title.",
                    )
                ]
            )
        if self.writer:
            self.writer.must_be_allowed(str(code))
        if self.told.title is None and not self.part["plan"] and of_a_year(told["title"]):
            self.warnings.append(
                {
                    "ja": f"新しい計画の名称を、この資料の題名の「{told['title']}」にしました。"
                    "年度や報告書の言葉を除いた計画名にするには、title で指定してください。",
                    "en": f'The new plan is called "{told["title"]}", as this document is. '
                    "Tell its own title with title, without words of a year or a report.",
                }
            )
        if "ratings" not in told:
            told["ratings"] = self._scale()
        made = self.counts["plan"] = save(self.session, Plan, [{"slug": self.slug, **told}])
        return made.ids[0]

    def _told_of_plan(self) -> dict[str, Any]:
        """The columns of the plan that are told, by the document or beside it, checked."""
        row = {name: value for name, value in self.part["plan"].items() if name not in ("slug", "line")}
        told = {
            name: getattr(self.told, name)
            for name in ("municipality_code", "municipality", "title")
            if getattr(self.told, name) is not None
        }
        if not row:
            return ({"title": self.head["title"]} if self.head["title"] else {}) | told
        try:
            whole = PlanFields.model_validate(
                {"title": "-", "municipality_code": "112356", "municipality": "-", **row}
            )
        except ValidationError as error:
            raise self._refused(error, self.part["plan"]["line"]) from None
        dumped = whole.model_dump()
        return {name: dumped[name] for name in row} | told

    def _refused(self, error: ValidationError, line: int) -> Refused:
        return Refused(
            Unclear(
                line,
                None,
                excerpt(str(each["input"]), 100),
                f"{'.'.join(map(str, each['loc']))}: {each.get('ctx', {}).get('ja', '値が正しくありません。')}",
                f"{'.'.join(map(str, each['loc']))}: {each['msg']}",
            )
            for each in error.errors()
        )

    def _stopped(self, known: Iterable[str]) -> set[str]:
        """The marks of the table that say 休止 or the like and that nobody has declared to be ratings."""
        told = {mapped["field"] for mapped in self.head["mapping"]}
        if self.head["kind"] != "table" or "rating_code" in told:  # each row tells its code
            return set()
        return STOPPED.intersection(self.part["ratings"]) - {*known, *self.head["legend"]}

    def _scale(self) -> list[dict[str, Any]]:
        """The scale of a new plan: the legend's, in its order, then what else appears."""
        legend, stopped = self.head["legend"], self._stopped(())
        codes = [*legend, *(code for code in self.part["ratings"] if code not in {*legend, *stopped})]
        plans.check_codes(codes, len(codes))
        scale = [{"code": code, "label": legend.get(code), "description": None} for code in codes]
        return scale if legend else plans.in_usual_order(scale)

    def _rate(self) -> None:
        """New codes join the scale, and labels that the legend gives join their codes."""
        legend = self.head["legend"]
        scale, closed = self.session.execute(
            sa.select(PLAN.c.ratings, PLAN.c.ratings_closed).where(PLAN.c.id == self.plan)
        ).one()
        known = [rating["code"] for rating in scale]
        self.stopped = self._stopped(known)
        used = {code: place for code, place in self.part["ratings"].items() if code not in self.stopped}
        new = [code for code in used if code not in known]
        if new and closed:
            allowed = "、".join(map(excerpt, known))
            raise Refused(
                Unclear(
                    text=code,
                    column=self._column("rating"),
                    ja=f"評価 {excerpt(code)} はこの計画の評価区分にありません。使えるのは {allowed} です。",
                    en=f"The plan's scale is closed and has no {excerpt(code)}; it has {allowed}.",
                    **used[code],
                )
                for code in new
            )
        joined = plans.admit_ratings(self.session, self.plan, used) if new else []
        if self.counts["plan"].created and not self.part["plan"]:
            joined = list(used)
        self.warnings += [
            {
                "ja": f"評価 {code} を評価区分に加えました。意味は資料にないため、空欄です。",
                "en": f"The rating {code} joined the plan's scale. The document does not say what it means.",
            }
            for code in joined
            if code not in legend
        ]
        self.warnings += [
            _warning(
                Unclear(
                    text=code,
                    column=self._column("rating"),
                    ja=f"「{code}」は評価ではなく、評価のない行として読み、印刷されたまま残しました"
                    "（rating_printed）。評価の区分であれば、計画の評価区分（ratings）に加えるか、表に凡例"
                    f"（凡例 {code}：…）を書いて、もう一度取り込んでください。",
                    en=f"{code} was read as no rating, and kept as printed (rating_printed). If it is one, add it to "
                    "the plan's ratings or write a legend into the table (凡例 "
                    f"{code}：…), and import it again.",
                    **place,
                )
            )
            for code, place in self.part["ratings"].items()
            if code in self.stopped
        ]
        if legend and not self.counts["plan"].created and not closed:
            scale = self.session.scalar(sa.select(PLAN.c.ratings).where(PLAN.c.id == self.plan)) or []
            told = [each | {"label": each["label"] or legend.get(each["code"])} for each in scale]
            if told != scale:
                save(self.session, Plan, [{"id": self.plan, "ratings": told}])

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
                    self._column("title"),
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

    def _column(self, field: str) -> int | None:
        """The one column that holds a field; None where there are several."""
        columns = {mapped["column"] for mapped in self.head["mapping"] if mapped["field"] == field}
        return columns.pop() if len(columns) == 1 else None

    def _save_sections(self) -> Saved:
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

    def _save_measures(self, measures: list[dict[str, Any]]) -> Saved:
        positions = _positions(self.session, MEASURE, self.plan, [row["code"] for row in measures])
        sections = _ids(self.session, SECTION, self.plan)
        rows = []
        for told in measures:
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

    def _check(self, shape: type[BaseModel], row: dict[str, Any]) -> None:
        try:
            shape.model_validate(
                {"plan": self.slug}
                | {name: value for name, value in row.items() if name not in ("line", "sheet")}
            )
        except ValidationError as error:
            raise self._refused(error, row.get("line") or 0) from None

    # ---- evaluations

    def evaluate(self, rows: list[dict[str, Any]]) -> None:
        if not rows:
            return
        evaluations = []
        for row in rows:
            code = self.codes.get(row["code"], row["code"])
            told = {name: value for name, value in row.items() if name not in ("plan", "code", "line")}
            if told.get("rating") in self.stopped:
                told["rating"] = None
            evaluations.append(
                told
                | {"measure_id": self.ids[code], "document_id": self.document, "source_line": row["line"]}
            )
        if not self.fresh and any("extra" in row for row in evaluations):
            self._keep_extra(evaluations)
        if self.document is None and self.keep and self._would_change(evaluations):
            self.document = self._save_document()
            for row in evaluations:
                row["document_id"] = self.document
        saved = save(self.session, Evaluation, evaluations, along=("document_id", "source_line"))
        self.seen.update(saved.ids)
        so_far = self.counts["evaluation"]
        self.counts["evaluation"] = Saved(
            [],
            so_far.created + saved.created,
            so_far.updated + saved.updated,
            so_far.unchanged + saved.unchanged,
        )

    def _keep_extra(self, evaluations: list[dict[str, Any]]) -> None:
        """Columns that this document does not have stay; a blank cell and no cell are the same."""
        keys = [(row["measure_id"], row["fiscal_year"], row["ordinal"]) for row in evaluations]
        columns = (EVALUATION.c.measure_id, EVALUATION.c.fiscal_year, EVALUATION.c.ordinal)
        there = self.session.execute(
            sa.select(*columns, EVALUATION.c.extra).where(among(self.session, columns, keys))
        )
        known = {tuple(row[:3]): row[3] for row in there}
        told = {mapped["header"] for mapped in self.head["mapping"] if mapped["field"] == "extra"}
        for row, key in zip(evaluations, keys, strict=True):
            before = known.get(key)
            if not before or self.head["kind"] != "table":
                continue
            kept = {name: text for name, text in before.items() if name not in told or not text}
            row["extra"] = kept | row["extra"]

    def _would_change(self, evaluations: list[dict[str, Any]]) -> bool:
        """Whether any of the rows is new or differs: a document that says nothing new is not kept."""
        names = ["measure_id", "fiscal_year", "ordinal"]
        keys = [tuple(row[name] for name in names) for row in evaluations]
        columns = [EVALUATION.c[name] for name in names]
        there = self.session.execute(
            sa.select(EVALUATION).where(among(self.session, columns, keys))
        ).mappings()
        known = {tuple(row[name] for name in names): row for row in there}
        if any(key not in known for key in keys):
            return True
        parent_of = parents_of(self.session, ENTITIES["evaluation"], evaluations)
        for row, key in zip(evaluations, keys, strict=True):
            before = known[key]
            told = Evaluation.derived({**before, **row}, parent_of(row)) | row
            if any(told[name] != before[name] for name in told if name not in ("document_id", "source_line")):
                return True
        return False

    # ---- the document itself

    def _document_there(self) -> int | None:
        self.file.seek(0)
        self.sha256 = hashlib.file_digest(self.file, "sha256").hexdigest()  # type: ignore[arg-type]
        same = (DOCUMENT.c.plan_id == self.plan) & (DOCUMENT.c.sha256 == self.sha256)
        there: int | None = self.session.scalar(sa.select(DOCUMENT.c.id).where(same))
        if there is not None:
            self.counts["document"] = Saved([there], 0, 0, 1)
        return there

    def _save_document(self) -> int:
        years = self.head["fiscal_years"]
        self.file.seek(0)
        content = self.file.read()
        row = {
            "plan_id": self.plan,
            "sha256": self.sha256,
            "name": self.name,
            "media_type": MEDIA_TYPES[kind_of(self.name)],
            "encoding": self.head["encoding"],
            "fiscal_year": years[0] if len(years) == 1 else None,
            "size": len(content),
            "report": self._understanding(),
            "content": content,
        }
        saved = self.counts["document"] = save(self.session, Document, [row])
        return saved.ids[0]

    def _understanding(self) -> dict[str, Any]:
        named = ("title", "subtitle", "fiscal_years", "rows", "mapping")
        told = {name: self.head[name] for name in named} | {"warnings": self.warnings[:MOST_WARNINGS]}
        return told | ({"sheets": self.head["sheets"]} if self.head["sheets"] else {})

    def finish(self) -> None:
        changed = any(saved.created or saved.updated for saved in self.counts.values())
        if self.document is None and changed and self.keep:
            self.document = self._save_document()
        if self.head["kind"] == "table":
            self.warnings += self._left_out()

    def _left_out(self) -> list[dict[str, Any]]:
        """What the plan has and this document does not say: it stays, and somebody should know."""
        title = self.session.scalar(sa.select(PLAN.c.title).where(PLAN.c.id == self.plan))
        rows = self.session.execute(
            sa.select(EVALUATION.c.id, EVALUATION_KEY)
            .join(MEASURE, EVALUATION.c.measure_id == MEASURE.c.id)
            .join(PLAN, MEASURE.c.plan_id == PLAN.c.id)
            .where(PLAN.c.id == self.plan, EVALUATION.c.fiscal_year.in_(self.head["fiscal_years"]))
            .order_by(EVALUATION.c.id)
            .execution_options(yield_per=1_000)
        )
        keys = [key for id, key in rows if id not in self.seen]
        warnings: list[dict[str, Any]] = [
            {
                "ja": f"{key} は登録されていますが、この資料にはありません。不要であれば削除してください。",
                "en": f"{key} is on record and not in this document. Remove it if it should go.",
            }
            for key in keys[:MOST_WARNINGS]
        ]
        told = self.told.title or self.head["title"]
        if told is not None and title != told:
            warnings.append(
                {
                    "ja": f"計画名は「{title}」のままです。この資料では「{told}」です。",
                    "en": f"The plan keeps its title {title!r}; this document says {told!r}.",
                }
            )
        return warnings

    def report(self) -> dict[str, Any]:
        return {
            "document": self.document,
            **self._understanding(),
            "sheets": self.head["sheets"],
            **{
                what: {noun: getattr(saved, what) for noun, saved in self.counts.items()}
                for what in ("created", "updated", "unchanged")
            },
            "measures": {
                "new": [code for code in self.titles if code not in self.before],
                "missing": [code for code in self.before if code not in self.titles]
                if self.head["kind"] == "table"
                else [],
                "renamed": self.renamed,
            },
        }


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
