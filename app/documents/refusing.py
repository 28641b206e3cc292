"""What is wrong with a document, as an import answers it: all in one go, with what was understood all the same."""

from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from pydantic import ValidationError

from app.documents.previewing import recode
from app.documents.reading import Problem as Unclear
from app.documents.tables import MOST_PROBLEMS
from app.kit.errors import Finding, Invalid, Say
from app.kit.text import excerpt

T = TypeVar("T")

MORE = Finding(
    Say(
        f"ここまでで {MOST_PROBLEMS:,} か所です。ほかにもあるかもしれません。直してから、もう一度取り込んでください。",
        f"These are {MOST_PROBLEMS:,}, and there may be more. Correct them, and import the document again.",
    )
)


class Refused(Invalid):
    """A document with lines that were not understood. Nothing of it was written.

    There may be `others` that are of no line.
    """

    def __init__(
        self, unclear: Iterable[Unclear], head: dict[str, Any] | None = None, others: Iterable[Finding] = ()
    ) -> None:
        self.unclear = list(unclear)
        self.others = list(others)
        places = [{name: getattr(each, name) for name in ("line", "column", "text")} for each in self.unclear]
        findings = [
            Finding(Say(each.ja, each.en), place=place | ({"sheet": each.sheet} if each.sheet else {}))
            for each, place in zip(self.unclear, places, strict=True)
        ]
        findings += self.others
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
        warnings = [warning(Unclear(**each)) for each in head["warnings"]]
        self.members["report"] = told | {"warnings": warnings}


def all_told(steps: Iterable[Callable[[], T]]) -> list[T]:
    """Take all steps, and refuse in the end what any of them refused: it is to be corrected in one go."""
    came: list[T] = []
    unclear: list[Unclear] = []
    others: list[Finding] = []
    for step in steps:
        try:
            came.append(step())
        except Refused as refused:
            unclear += refused.unclear
            others += refused.others
        except Invalid as invalid:
            others += invalid.findings
        if len(unclear) + len(others) > MOST_PROBLEMS:
            break
    others.sort(key=lambda each: each.place.get("line") or 0)
    if others and not unclear:
        raise Invalid(*others)
    if unclear:
        unclear.sort(key=lambda each: (each.sheet or "", each.line or 0, each.column or 0))
        more = len(unclear) > MOST_PROBLEMS or MORE in others
        others = [each for each in others if each != MORE] + [MORE] * more
        raise Refused(unclear[:MOST_PROBLEMS], others=others)
    return came


def warning(unclear: Unclear) -> dict[str, Any]:
    place = {name: getattr(unclear, name) for name in ("sheet", "line", "column", "text")}
    return {"ja": unclear.ja, "en": unclear.en, **{name: value for name, value in place.items() if value}}


def unfit(error: ValidationError, line: int | None) -> list[Unclear]:
    """Values that the shape of a row does not take."""
    problems = []
    for each in error.errors():
        place = ".".join(map(str, each["loc"]))
        ja, en = each.get("ctx", {}).get("ja", "値が正しくありません。"), each["msg"]
        text = excerpt(str(each["input"]), 100) if place else ""
        problems.append(
            Unclear(line, None, text, f"{place}: {ja}" if place else ja, f"{place}: {en}" if place else en)
        )
    return problems
