"""The plan that a document is about: found or made, with the marks that join its scale."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from pydantic import ValidationError

from app import plans
from app.access import Writer
from app.changes import PLANS_BY_SLUG, Saved, hold, save
from app.documents.marks import ALIKE, STOPPED
from app.documents.reading import Problem as Unclear
from app.documents.refusing import Refused, unfit, warning
from app.documents.told import Told
from app.documents.vocabulary import of_a_year
from app.kit.errors import Finding, Invalid, Say
from app.kit.session import Session
from app.kit.text import excerpt
from app.models import PLAN, Plan


class IntoPlan:
    """What the part of a document that is about one plan says of the plan itself."""

    def __init__(
        self,
        session: Session,
        slug: str,
        part: dict[str, Any],
        head: dict[str, Any],
        told: Told,
        writer: Writer | None,
        warnings: list[dict[str, Any]],
    ) -> None:
        self.session, self.slug, self.part, self.head = session, slug, part, head
        self.told, self.writer, self.warnings = told, writer, warnings
        self.saved = Saved([], 0, 0, 0)
        self.codes: set[str] = set()  # of the scale
        self.stopped: set[str] = set()  # marks that are no ratings here
        self.spelled: dict[str, str] = {}  # codes that are another one in another width or shape
        self.legend: dict[str, str] = head["legend"]
        self.id = self._plan()

    def _plan(self) -> int:
        which = PLAN.c.slug == self.slug
        hold(self.session, PLANS_BY_SLUG, [(self.slug,)])
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
            self.saved = Saved([there.id], 0, 0, 1)
            if self.part["plan"]:
                self.saved = save(self.session, Plan, [{"slug": self.slug, **told}])
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
                    place={"line": line} if (line := self.part.get("line")) else {},
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
        made = self.saved = save(self.session, Plan, [{"slug": self.slug, **told}])
        return made.ids[0]

    def _told_of_plan(self) -> dict[str, Any]:
        """The columns of the plan that are told, by the document or beside it, checked."""
        row = {name: value for name, value in self.part["plan"].items() if name != "line"}
        told = {
            name: getattr(self.told, name)
            for name in ("municipality_code", "municipality", "title")
            if getattr(self.told, name) is not None
        }
        if not row:
            return ({"title": self.head["title"]} if self.head["title"] else {}) | told
        try:
            whole = plans.NewPlan.model_validate(
                {"title": "-", "municipality_code": "112356", "municipality": "-", **row}
            )
        except ValidationError as error:
            raise Refused(unfit(error, self.part["plan"]["line"])) from None
        dumped = whole.model_dump()
        return {name: dumped[name] for name in row} | told

    def _stopped(self, known: Iterable[str]) -> set[str]:
        """The marks of the table that say 休止 or the like and that nobody has declared to be ratings."""
        return set() if self._coded() else STOPPED.intersection(self.part["ratings"]) - {*known, *self.legend}

    def _coded(self) -> bool:
        """Whether each row tells its code, and means it."""
        return self.head["kind"] != "table" or any(
            mapped["field"] == "rating_code" for mapped in self.head["mapping"]
        )

    def _spell(self, known: Sequence[str]) -> None:
        """Ａ and A are one rating, as 〇 and ○ are: called as the plan's scale calls it, or as the table does first."""
        used = self.part["ratings"]
        if self._coded():
            return
        ours: dict[str, str] = {}
        for code in (*known, *used):
            ours.setdefault(code.translate(ALIKE), code)
        spelled = {code: ours[code.translate(ALIKE)] for code in used if code not in known}
        self.spelled |= {code: usual for code, usual in spelled.items() if code != usual}
        self.part["ratings"] = {}
        for code, place in used.items():
            self.part["ratings"].setdefault(spelled.get(code, code), place)
        plain = {mark: mark.translate(ALIKE) for mark in self.legend}
        narrow = any(mark != name == ours.get(name) for mark, name in plain.items())
        self.legend = {
            ours.get(name, name if narrow else mark): self.legend[mark] for mark, name in plain.items()
        }

    def _scale(self) -> list[dict[str, Any]]:
        """The scale of a new plan: the legend's, in its order, then what else appears."""
        self._spell(())
        legend, stopped = self.legend, self._stopped(())
        codes = [*legend, *(code for code in self.part["ratings"] if code not in {*legend, *stopped})]
        self._refuse_unfit(codes)
        plans.check_codes(codes, len(codes))
        scale = [{"code": code, "label": legend.get(code), "description": None} for code in codes]
        return scale if legend else plans.in_usual_order(scale)

    def _refuse_unfit(self, codes: Iterable[str]) -> None:
        places = self.part["ratings"]
        unfit = {code: plans.cannot_join([code]) for code in codes if code in places and not plans.fits(code)}
        if unfit:
            column = column_of(self.head, "rating")
            raise Refused(
                Unclear(text=code, column=column, ja=says.ja, en=says.en, **places[code])
                for code, says in unfit.items()
            )

    def rate(self) -> None:
        """New codes join the scale, and labels that the legend gives join their codes."""
        scale, closed = self.session.execute(
            sa.select(PLAN.c.ratings, PLAN.c.ratings_closed).where(PLAN.c.id == self.id)
        ).one()
        known = [rating["code"] for rating in scale]
        self.codes = {*known}
        self._spell(known)
        legend = self.legend
        self.stopped = self._stopped(known)
        used = {code: place for code, place in self.part["ratings"].items() if code not in self.stopped}
        new = [code for code in used if code not in known]
        if new and closed:
            allowed = "、".join(map(excerpt, known))
            raise Refused(
                Unclear(
                    text=code,
                    column=column_of(self.head, "rating"),
                    ja=f"評価 {excerpt(code)} はこの計画の評価区分にありません。使えるのは {allowed} です。",
                    en=f"The plan's scale is closed and has no {excerpt(code)}; it has {allowed}.",
                    **used[code],
                )
                for code in new
            )
        self._refuse_unfit(new)
        joined = plans.admit_ratings(self.session, self.id, used) if new else []
        self.codes |= {*new}
        if self.saved.created and not self.part["plan"]:
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
            warning(
                Unclear(
                    text=code,
                    column=column_of(self.head, "rating"),
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
        if legend and not self.saved.created and not closed:
            scale = self.session.scalar(sa.select(PLAN.c.ratings).where(PLAN.c.id == self.id)) or []
            told = [each | {"label": each["label"] or legend.get(each["code"])} for each in scale]
            if told != scale:
                save(self.session, Plan, [{"id": self.id, "ratings": told}])


def column_of(head: Mapping[str, Any], field: str) -> int | None:
    """The one column that holds a field; None where there are several."""
    columns = {mapped["column"] for mapped in head["mapping"] if mapped["field"] == field}
    return columns.pop() if len(columns) == 1 else None
