"""What stands on a line of a spreadsheet that rows were read from. Files are opened apart, one at a time."""

import tempfile
from collections.abc import Mapping
from threading import Lock
from typing import Any

import sqlalchemy as sa

from app.documents import apart
from app.documents.reading import Unreadable
from app.kit.session import Session
from app.models import DOCUMENT

MOST_BYTES = 5_000_000  # of a file; a larger one is for downloading
MOST_KEPT = 4

Cells = list[str]

# What the hash names never changes, so each file is opened once, whatever is asked of it.
_kept: dict[str, dict[int, list[tuple[str | None, Cells]]]] = {}
_turn = Lock()


def cells_on(
    session: Session, document: Mapping[str, Any], line: int
) -> list[tuple[str | None, Cells]] | None:
    """The sheets that were read and have such a line, each with its cells; None while another file is being opened."""
    if document["encoding"] or document["size"] > MOST_BYTES:
        return []
    lines = _kept.get(document["sha256"])
    if lines is None:
        if not _turn.acquire(blocking=False):
            return None
        try:
            lines = _opened(session, document)
        finally:
            _turn.release()
    read = document["report"].get("sheets")
    return [(sheet, cells) for sheet, cells in lines.get(line, []) if not read or sheet in read]


def headers_of(document: Mapping[str, Any]) -> dict[int, tuple[str, int | None]]:
    """The header of each column and, of several years, its own; where all of the sheets agree on it."""
    found: dict[int, set[tuple[str, int | None]]] = {}
    for mapped in document["report"].get("mapping", []):
        year = mapped.get("fiscal_year") if document["fiscal_year"] is None else None
        found.setdefault(mapped["column"], set()).add((mapped["header"], year))
    return {column: heads.pop() for column, heads in found.items() if len(heads) == 1}


def _opened(session: Session, document: Mapping[str, Any]) -> dict[int, list[tuple[str | None, Cells]]]:
    lines: dict[int, list[tuple[str | None, Cells]]] = {}
    content = session.scalars(sa.select(DOCUMENT.c.content).where(DOCUMENT.c.id == document["id"])).one()
    with tempfile.TemporaryFile() as file:
        file.write(content)
        try:
            for sheet, line, cells in apart.printed(file, document["name"]):
                lines.setdefault(line, []).append((sheet, cells))
        except Unreadable:
            lines = {}  # it could be read once, with more patience: nothing is tried again and again
    while len(_kept) >= MOST_KEPT:
        _kept.pop(next(iter(_kept)))
    _kept[document["sha256"]] = lines
    return lines
