"""From entries to measures and their evaluations.

A measure has one title. A row that says 再掲 under the number of another row is left out where it says the same or
nothing; where it differs, it is asked about. Under a number of its own it is a measure of its own. Several rows of a
measure in one year are all kept, counted from 1. No measure of a year stands on two sheets, unless told.
"""

import re
from collections import Counter
from collections.abc import Mapping, Sequence

from app.documents.codes import Called, Codes
from app.documents.marks import code_of
from app.documents.reading import Row
from app.documents.rows import AGAIN
from app.documents.tables import (
    ONE_LINE,
    UNKEEPABLE,
    Asked,
    Entry,
    Notes,
    RecognisedEvaluation,
    RecognisedMeasure,
    one_line,
)
from app.documents.vocabulary import YEARLY
from app.documents.years import Years
from app.kit.text import fold

AGAIN_IN_TITLE = re.compile(r"\s*[（(〔\[【<＜]?\s*[※＊]?再\s*掲[^）)〕\]】>＞]{0,20}[）)〕\]】>＞]?\s*")
ORDINAL = re.compile("[1-9][0-9]{0,5}")


class Measures:
    """What the entries of a document come to."""

    def __init__(self, asked: Asked, years: Years, notes: Notes) -> None:
        self.asked = asked
        self.years = years
        self.notes = notes
        self.measures: dict[str, RecognisedMeasure] = {}
        self.sections: dict[str, tuple[str | None, str | None]] = {}  # label and title
        self.other_titles: set[tuple[str, str]] = set()  # of sections, that were told
        self.evaluations: list[RecognisedEvaluation] = []
        self.counted = False  # as they came, because they have no numbers
        self.repeated: dict[
            str, list[list[str]]
        ] = {}  # measures of which rows say 再掲: what their own rows say
        # Of each measure in each year: where its first row stands, how many it has, and the line of each text.
        self.first: dict[tuple[str, int], tuple[str | None, int]] = {}
        self.count: Counter[tuple[str, int]] = Counter()
        self.ordinals: dict[tuple[str, int, int], tuple[str | None, int]] = {}
        self.said: dict[tuple[object, ...], tuple[str | None, int]] = {}
        self.alike: dict[tuple[object, ...], tuple[str | None, int]] = {}  # but for what has no field

    def read(self, entries: Sequence[Entry]) -> None:
        codes = Codes(entries, self.asked.numbering, self.notes)
        called: list[tuple[Entry, Called | None]] = []
        for entry in entries:
            self.notes.sheet = entry.sheet
            called.append((entry, codes.of(entry)))
        self.counted = bool(codes.counted)
        first = [(entry, its) for entry, its in called if its and not entry.again]
        again = {its.code for entry, its in called if its and entry.again}
        self.repeated = {its.code: [] for _, its in first if its.code in again}
        nameless = any(map(_is_nameless, entries))
        by_title = {fold(entry.title): its.code for entry, its in first} if nameless else {}
        for entry, its in called:
            self.notes.sheet = entry.sheet
            if its:
                self._read(entry, its)
            elif _is_nameless(entry):
                self._find(entry, by_title)

    def _read(self, entry: Entry, its: Called) -> None:
        repeats = entry.again and its.code in self.repeated
        title = _without_again(entry.title) if repeats else entry.title
        measure = self.measures.get(its.code)
        if measure and measure.title != title and fold(measure.title) != fold(title):
            ja, en = self.notes.where(measure.sheet, measure.line)
            outer = next((each for each in entry.block.of("extra") if each.place < entry.block.title), None)
            told = f'{{"{outer.place}": "section"}}' if outer else ""
            numbers = entry.block.places("path")
            bare = bool(numbers) and not any(map(str.strip, map(entry.row.cell, numbers)))
            self.notes.wrong(
                (
                    f"番号が空欄なので、上の {its.code} の続きとみなしましたが、名称が{ja}と違います。"
                    "番号を書いてください。"
                    if bare
                    else f"施策 {its.code} の名称が{ja}と違います。番号か名称を直してください。"
                )
                + (
                    f"列「{outer.name}」ごとに番号が始まるのであれば、mapping で {told} と教えてください。"
                    if outer
                    else ""
                ),
                (
                    f"Without a number this was taken for more of {its.code} above, which has another title on {en}. "
                    "Write its number."
                    if bare
                    else f"Measure {its.code} has another title on {en}. Correct its number or its title."
                )
                + (
                    f" If numbers begin anew with each {outer.name}, tell {told} with mapping."
                    if outer
                    else ""
                ),
                entry.row,
                entry.block.title,
            )
            return
        if repeats and not self._is_kept(entry, its.code):
            return
        if entry.again and not repeats:
            self.notes.warn(
                f"再掲の行ですが、番号 {its.code} はここだけなので、別の施策として読みました。"
                "集計では別に数えられます。",
                f"This says 再掲, but {its.code} stands only here: it was read as a measure of its own, "
                "and counts as one.",
                entry.row,
            )
        if measure is None:
            measure = self.measures[its.code] = RecognisedMeasure(
                entry.row.line, its.section_code, its.path, its.code, title, entry.sheet
            )
        self._place_in_section(entry, its)
        self.notes.take(entry.row, "measure", its.code)
        self._evaluate(entry, measure)

    def _place_in_section(self, entry: Entry, its: Called) -> None:
        label, title = self.sections.get(its.section_code, (its.section_label, None))
        self.sections[its.section_code] = (label, title or its.section_title)
        other = (its.section_code, fold(its.section_title or ""))
        if not (title and its.section_title) or fold(title) == other[1] or other in self.other_titles:
            return
        self.other_titles.add(other)
        self.notes.warn(
            f"節 {its.section_code} は、ここでは「{its.section_title}」ですが、前に「{title}」とあるので、"
            "その節としました。別の節であれば、番号を直してください。",
            f"Section {its.section_code} is called {its.section_title} here and {title} before, and was taken for one. "
            "If there are two, correct their numbers.",
            entry.row,
        )

    # ---- rows that say 再掲

    def _find(self, entry: Entry, by_title: Mapping[str, str]) -> None:
        """A row without a number repeats the measure of its title."""
        if code := by_title.get(fold(_without_again(entry.title))):
            self._skip(entry, code)
            return
        self.notes.wrong(
            "再掲とありますが、番号がなく、同じ名称の施策もありません。番号を書いてください。",
            "This says 再掲, has no number, and no measure has its title. Write its number.",
            entry.row,
            entry.block.title,
        )

    def _skip(self, entry: Entry, code: str) -> None:
        self.notes.warn(
            f"施策 {code} の再掲なので、重ねて読みませんでした。",
            f"This repeats measure {code} (再掲) and was not read again.",
            entry.row,
        )
        self.notes.take(entry.row, "repeat", code)

    def _is_kept(self, entry: Entry, code: str) -> bool:
        """Not where the row says the same as the first, or nothing."""
        if self.asked.on_repeat == "keep":
            return True
        if self.asked.on_repeat == "skip" or self._says_nothing_new(entry, code):
            self._skip(entry, code)
            return False
        self.notes.wrong(
            f"施策 {code} の再掲とありますが、最初の行と内容が違います。読み飛ばすなら on_repeat=skip、"
            "別の行として残すなら on_repeat=keep を指定してください。",
            f"This says that it repeats measure {code} (再掲), but in other words. Tell on_repeat=skip to leave it "
            "out, or on_repeat=keep to keep it as a further row.",
            entry.row,
        )
        return False

    def _says_nothing_new(self, entry: Entry, code: str) -> bool:
        said = _texts(entry)
        return any(
            all(
                not text or AGAIN.search(text) or text == other
                for text, other in zip(said, first, strict=False)
            )
            for first in self.repeated[code] or [[]]
        )

    # ---- evaluations

    def _evaluate(self, entry: Entry, measure: RecognisedMeasure) -> None:
        block = entry.block
        if not block.evaluated:
            return  # a list of measures, which reports on no year
        if measure.code in self.repeated and not entry.again:
            self.repeated[measure.code].append(_texts(entry))
        for year in self._years(entry):
            self._add(entry, measure, year, *_cells(entry, year))

    def _years(self, entry: Entry) -> list[int]:
        """The years that the row reports on: of several side by side, those of which it says something."""
        block = entry.block
        if len(block.years) < 2:
            return block.years or self.years.of_row(entry)
        said = {column.year for column in block.evaluated if entry.row.cell(column.place).strip()}
        years = [year for year in block.years if year in said]
        if said and not years:
            self.notes.warn(
                "どの年度の欄も空欄なので、施策の名称だけを読み、ほかの列は残しませんでした。",
                "Nothing is said of any of the years: only the measure was read, its other columns were not kept.",
                entry.row,
            )
        return years

    def _add(
        self,
        entry: Entry,
        measure: RecognisedMeasure,
        year: int,
        cells: dict[str, str | None],
        extra: dict[str, str],
    ) -> None:
        ordinal = self._ordinal(entry, measure.code, year, cells, extra)
        if ordinal is None:
            return
        printed = cells.get("rating")
        rating = cells["rating_code"] if "rating_code" in cells else code_of(printed or "")
        if rating is not None and ("," in rating or rating == "none" or UNKEEPABLE.search(rating)):
            self.notes.wrong(
                "評価の記号にコンマと none は使えません。mapping で別の列を評価にするか、記号を直してください。",
                "A rating may hold no comma and not be none. Correct the mark, or tell the right column with mapping.",
                entry.row,
                next((c.place for c in entry.block.of("rating") if c.year in (None, year)), None),
            )
            return
        self.evaluations.append(
            RecognisedEvaluation(
                line=entry.row.line,
                section_code=measure.section_code,
                section_label=self.sections[measure.section_code][0],
                path=measure.path,
                code=measure.code,
                title=measure.title,
                fiscal_year=year,
                ordinal=ordinal,
                implementation=cells.get("implementation"),
                rating=rating,
                rating_printed=printed,
                rationale=cells.get("rationale"),
                next_plan=cells.get("next_plan"),
                department=cells.get("department"),
                extra=extra,
                sheet=entry.sheet,
            )
        )

    def _ordinal(
        self, entry: Entry, code: str, year: int, cells: dict[str, str | None], extra: dict[str, str]
    ) -> int | None:
        """Which of the measure's rows in this year it is; None where it cannot be one."""
        row = entry.row
        sheet, line = self.first.setdefault((code, year), (entry.sheet, row.line))
        if sheet != entry.sheet and len(self.asked.sheets) < 2:
            ja, en = self.notes.where(sheet, line)
            self.notes.wrong(
                f"施策 {code} の {year} 年度は、{ja}にもあります。"
                "読むシートを sheet で指定してください。両方の行を残すなら、両方をコンマ区切りで指定します。",
                f"Measure {code} has a row for {year} on {en}, too. Name the sheet to "
                "read with sheet; to keep the rows of both, name both, separated by a comma.",
                row,
            )
            return None
        self.count[code, year] += 1
        texts = list(map(cells.get, YEARLY))
        said = (code, year, *texts, cells.get("department"), *sorted(extra.items()))
        here = entry.sheet, row.line
        twin = self.said.setdefault(said, here)
        if twin != here and any(texts) and "ordinal" not in cells:
            ja, en = self.notes.where(*twin)
            self.notes.warn(
                f"{ja}と同じ内容です。同じ施策の別の行として残しました。",
                f"This says the same as {en}. Both were kept as rows of measure {code}.",
                row,
            )
        elif any(texts) and "ordinal" not in cells:
            self._tell_alike((code, year, *texts), row)
        told = cells.get("ordinal")
        if told and not ORDINAL.fullmatch(told.strip()):
            self.notes.wrong("枝番は 1 以上の整数です。", "An ordinal is a whole number from 1.", row)
            return None
        ordinal = int(told) if told else self.count[code, year]
        sheet, line = self.ordinals.setdefault((code, year, ordinal), (entry.sheet, row.line))
        if (sheet, line) != (entry.sheet, row.line):
            self.notes.wrong(
                f"施策 {code} の {year} 年度の枝番 {ordinal} は、{line} 行目にもあります。枝番を直してください。",
                f"Measure {code} has row {ordinal} for {year} on line {line}, too. Correct the ordinal (枝番).",
                row,
                next(iter(entry.block.places("ordinal")), None),
            )
            return None
        return ordinal

    def _tell_alike(self, said: tuple[object, ...], row: Row) -> None:
        """Where what was done and the rating are merged over several rows, such as those of indicators."""
        here = self.notes.sheet, row.line
        twin = self.alike.setdefault(said, here)
        if twin == here:
            return
        ja, en = self.notes.where(*twin)
        self.notes.warn(
            f"実施内容や評価は{ja}と同じで、ほかの列だけが違います。同じ施策の別の行として残し、評価も行ごとに数えます"
            "（summary の unit=measure では施策ごとに数えます）。",
            f"What was done and the rating are those of {en}; other columns differ. Both were kept as rows of the "
            "measure, and each is counted with its rating (the summary counts measures with unit=measure).",
            row,
        )


def _is_nameless(entry: Entry) -> bool:
    """Whether it says 再掲 and not of which number."""
    return entry.again and not (entry.code if entry.block.coded else entry.own)


def _without_again(title: str) -> str:
    return AGAIN_IN_TITLE.sub("", title).strip() or title


def _texts(entry: Entry) -> list[str]:
    """What the row says of all its years, as it is compared."""
    return [fold(entry.row.cell(place)) for place in entry.block.places(*YEARLY)]


def _cells(entry: Entry, year: int) -> tuple[dict[str, str | None], dict[str, str]]:
    """What the row says of a year, by field, and what has none, by its printed name."""
    cells: dict[str, str | None] = {}
    extra: dict[str, str] = {}
    for column in entry.block.evaluated:
        if column.year is not None and column.year != year:
            continue
        cell = entry.row.cells[column.place - 1]
        if column.field in ONE_LINE:
            cell = one_line(cell)
        if column.field == "rating" and not entry.block.explicit:
            cell = cell.strip()
            if column.place in entry.meant:
                cells["rating_code"] = code_of(entry.meant[column.place].strip())
        if column.field != "extra":
            cells[column.field] = cell if cell.strip() else None
        elif cell.strip():
            extra[column.name] = cell
    return cells, extra
