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
        warnings = [warning(Unclear(**each)) for each in head["warnings"]]
        self.members["report"] = told | {"warnings": warnings}


def all_told(steps: Iterable[Callable[[], T]]) -> list[T]:
    """Take all steps, and refuse in the end what any of them refused: it is to be corrected in one go."""
    came: list[T] = []
    unclear: list[Unclear] = []
    for step in steps:
        try:
            came.append(step())
        except Refused as refused:
            unclear += refused.unclear
            if len(unclear) > MOST_PROBLEMS:
                break
    if unclear:
        unclear.sort(key=lambda each: (each.sheet or "", each.line or 0, each.column or 0))
        raise Refused(unclear[:MOST_PROBLEMS])
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
