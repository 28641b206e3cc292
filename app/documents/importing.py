"""From what a document says to rows: all of it or nothing, and twice is once."""

import hashlib
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from itertools import chain
from operator import itemgetter
from typing import IO, Any

import orjson
import sqlalchemy as sa

from app import plans
from app.access import Writer
from app.changes import ENTITIES, Saved, parents_of, save
from app.documents import apart
from app.documents.apart import Understood
from app.documents.into_measures import IntoMeasures
from app.documents.into_plans import IntoPlan, column_of
from app.documents.marks import code_of
from app.documents.previewing import shows
from app.documents.reading import MEDIA_TYPES, Problem, Unreadable, kind_of
from app.documents.refusing import Refused, all_told, warning
from app.documents.told import Told
from app.kit.errors import Finding, Invalid, Say
from app.kit.session import Session
from app.kit.text import excerpt, said
from app.models import DOCUMENT, EVALUATION, EVALUATION_KEY, MEASURE, PLAN, Document, Evaluation

MOST_WARNINGS = 1_000
OF = ENTITIES["evaluation"]
_key = itemgetter(*OF.natural_key)
ALONG = ("document_id", "source_line")  # another document that says the same changes nothing


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
    file.seek(0)
    sha256 = hashlib.file_digest(file, "sha256").hexdigest()  # type: ignore[arg-type]
    imports = {
        slug: _Import(session, found, file, sha256, name, told, writer, slug, part, keep=len(parts) == 1)
        for slug, part in sorted(parts.items())
    }
    prepare = (each.prepare for each in imports.values())
    evaluate = (
        partial(_evaluate, session, imports, chunk, told.plan or "")
        for chunk in _counted(found.evaluations(), progress)
    )
    steps: Iterator[Callable[[], None]] = chain(prepare, evaluate)
    all_told(steps)
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
    # What is about the whole document is told of each part.
    warnings = {orjson.dumps(warning): warning for each in reports for warning in each["warnings"]}
    together["warnings"] = [*warnings.values()][:MOST_WARNINGS]
    return together


def _counted(
    chunks: Iterable[list[dict[str, Any]]], progress: Callable[[int], None]
) -> Iterator[list[dict[str, Any]]]:
    done = 0
    for chunk in chunks:
        done += len(chunk)
        progress(done)
        yield chunk


def _evaluate(
    session: Session, imports: Mapping[str, "_Import"], chunk: list[dict[str, Any]], usual: str
) -> None:
    """Write some rows, each of which is of a plan, or of the usual one."""
    if len(imports) == 1:
        [each] = imports.values()
        each.evaluate(chunk)
        return
    of_plans = defaultdict(list)
    for row in chunk:
        of_plans[row["plan"] or usual].append(row)
    made = all_told(partial(imports[slug].made, rows) for slug, rows in of_plans.items())
    if not all(each.ready for each in imports.values()):
        return
    saved = save(session, Evaluation, [*chain(*made)], along=ALONG)
    # One report is made of all: it does not matter whose they are counted as.
    imports[next(iter(of_plans))].count(saved)


class _Import:
    """The part of a document that is about one plan."""

    def __init__(
        self,
        session: Session,
        found: Understood,
        file: IO[bytes],
        sha256: str,
        name: str,
        told: Told,
        writer: Writer | None,
        slug: str,
        part: dict[str, Any],
        *,
        keep: bool,
    ) -> None:
        self.session, self.found, self.head, self.told, self.writer = session, found, found.head, told, writer
        self.file, self.sha256, self.name = file, sha256, name
        self.slug, self.part, self.keep = slug, part, keep
        nothing = Saved([], 0, 0, 0)
        self.counts = dict.fromkeys(("plan", "document", "section", "measure", "evaluation"), nothing)
        self.warnings = [warning(each) for each in found.warnings]
        self.document: int | None = None
        self.bare = False  # whether the plan had no evaluation yet
        self.ready = False  # for rows to be written; until then they are only held against each other
        self.ids: dict[str, int] = {}
        self.codes: dict[str, str] = {}
        self.stopped: set[str] = set()
        self.spelled: dict[str, str] = {}
        self.scale: set[str] = set()
        self.seen: set[int] = set()

    def prepare(self) -> None:
        """The plan, its sections and its measures."""
        plan = IntoPlan(self.session, self.slug, self.part, self.head, self.told, self.writer, self.warnings)
        self.plan, self.counts["plan"] = plan.id, plan.saved
        self.measures = IntoMeasures(plan)
        self.ids, self.codes = self.measures.ids(), self.measures.codes
        try:
            all_told((plan.rate, self.measures.confirm))
        finally:
            self.stopped, self.spelled, self.scale = plan.stopped, plan.spelled, plan.codes
        self.document = self._document_there()
        if self.document is None and plan.saved.created and self.keep:
            self.document = self._save_document()
        self.counts["section"] = self.measures.save_sections()
        self.counts["measure"] = self.measures.save_measures()
        self.ids = self.measures.ids()
        of_plan = EVALUATION.c.measure_id.in_(sa.select(MEASURE.c.id).where(MEASURE.c.plan_id == self.plan))
        self.bare = not self.session.scalar(sa.select(sa.exists().where(of_plan)))
        self.ready = True

    # ---- evaluations

    def evaluate(self, rows: list[dict[str, Any]]) -> None:
        evaluations = self.made(rows)
        if not self.ready:
            return
        if self.document is None and self.keep and self._would_change(evaluations):
            self.document = self._save_document()
            for row in evaluations:
                row["document_id"] = self.document
        saved = save(self.session, Evaluation, evaluations, along=ALONG)
        self.seen.update(saved.ids)
        self.count(saved)

    def made(self, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """The rows as they are to be saved."""
        evaluations = []
        for row in rows:
            told = {**row, "document_id": self.document, "source_line": row["line"]}
            del told["plan"], told["line"]
            code = told.pop("code")
            # One that was refused may have none.
            told["measure_id"] = self.ids.get(self.codes.get(code, code))
            if (rating := told.get("rating")) in self.stopped:
                told["rating"] = None
            elif rating in self.spelled:
                told["rating"] = self.spelled[rating]
            evaluations.append(told)
        self._print_ratings(evaluations)
        self._refuse_contradictions(evaluations)
        if self.ready and not self.bare:
            keep = self._keep_extra if self.head["kind"] == "table" else self._keep_blank
            keep(evaluations)
        return evaluations

    def _print_ratings(self, evaluations: list[dict[str, Any]]) -> None:
        """Where a rating changes and nothing is said of how it is printed, that follows it."""
        told = {_key(row): row for row in evaluations if "rating" in row and "rating_printed" not in row}
        for key, before in self._on_record(told.values()).items():
            if before["rating"] != told[key]["rating"]:
                told[key]["rating_printed"] = told[key]["rating"]

    def _refuse_contradictions(self, evaluations: list[dict[str, Any]]) -> None:
        """A mark that is printed for one rating, beside another one: not guessed, unless it is on record so."""
        doubtful = {}
        untold = self._on_record(
            row for row in evaluations if "rating" not in row and row.get("rating_printed")
        )
        for row in evaluations:
            printed, rating = row.get("rating_printed"), row.get("rating")
            if "rating" not in row and _key(row) in untold:
                rating = untold[_key(row)]["rating"]
            if printed and printed != rating:
                code = self.spelled.get(meant := code_of(printed) or "", meant)
                if code != rating and code in self.scale:
                    doubtful[_key(row)] = {**row, "rating": rating}
        for key, before in self._on_record(doubtful.values()).items():
            if all(before[name] == doubtful[key][name] for name in ("rating", "rating_printed")):
                del doubtful[key]
        if doubtful:
            raise Refused(
                Problem(
                    row["source_line"],
                    column_of(self.head, "rating"),
                    row["rating_printed"],
                    f"印刷された評価は {row['rating_printed']} ですが、評価の記号は {row['rating'] or '空欄'} です。"
                    "違うほうを直すか、印刷された評価（rating_printed）を空にしてください。",
                    f"The rating is printed as {row['rating_printed']}, and its code is {row['rating'] or 'blank'}. "
                    "Correct what is wrong, or leave what is printed (rating_printed) empty.",
                )
                for row in doubtful.values()
            )

    def _on_record(self, evaluations: Iterable[Mapping[str, Any]]) -> dict[Any, dict[str, Any]]:
        """The rows that are there already, by what names them."""
        keys = [] if self.bare else [*map(_key, evaluations)]
        return {_key(row): row for row in OF.by_key.fetch(self.session, keys)} if keys else {}

    def count(self, saved: Saved) -> None:
        so_far = self.counts["evaluation"]
        self.counts["evaluation"] = Saved(
            [],
            so_far.created + saved.created,
            so_far.updated + saved.updated,
            so_far.unchanged + saved.unchanged,
        )

    def _keep_extra(self, evaluations: list[dict[str, Any]]) -> None:
        """Columns that this document does not have stay, and those that it reads into fields go.

        A blank cell and no cell are the same.
        """
        known = self._on_record(evaluations)
        told = {mapped["header"] for mapped in self.head["mapping"] if mapped["field"] != "ignore"}
        for row in evaluations:
            before = known[_key(row)]["extra"] if _key(row) in known else {}
            kept = {name: text for name, text in before.items() if name not in told or not text}
            if "extra" in row or kept != before:
                row["extra"] = kept | row.get("extra", {})

    def _keep_blank(self, evaluations: list[dict[str, Any]]) -> None:
        """A file has no cell for a blank text of `extra`, and means to change nothing."""
        told = {_key(row): row for row in evaluations if row.get("extra") is not None}
        for key, before in self._on_record(told.values()).items():
            if said(before["extra"]) == said(told[key]["extra"]):
                told[key]["extra"] = before["extra"]

    def _would_change(self, evaluations: list[dict[str, Any]]) -> bool:
        """Whether any of the rows is new or differs: a document that says nothing new is not kept."""
        known = self._on_record(evaluations)
        if any(_key(row) not in known for row in evaluations):
            return True
        parent_of = parents_of(self.session, OF, evaluations)
        for row in evaluations:
            before = known[_key(row)]
            told = Evaluation.derived({**before, **row}, parent_of(row)) | row
            if any(told[name] != before[name] for name in told if name not in ALONG):
                return True
        return False

    # ---- the document itself

    def _document_there(self) -> int | None:
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
        if "ratings" in self.part["plan"]:
            plans.refuse_lost_codes(self.session, self.plan, self.part["plan"]["ratings"])
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
                    "en": f"The plan keeps its title “{title}”; this document says “{told}”.",
                }
            )
        return warnings

    def report(self) -> dict[str, Any]:
        measures = self.measures
        return {
            "document": self.document,
            **self._understanding(),
            "sheets": self.head["sheets"],
            **{
                what: {noun: getattr(saved, what) for noun, saved in self.counts.items()}
                for what in ("created", "updated", "unchanged")
            },
            "measures": {
                "new": [code for code in measures.titles if code not in measures.before],
                "missing": [code for code in measures.before if code not in measures.titles]
                if self.head["kind"] == "table"
                else [],
                "renamed": measures.renamed,
            },
        }
