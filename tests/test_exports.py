"""Out again: files with the same rows, inert for spreadsheets, exact, and importable without a change."""

import csv
import io
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import httpx
import openpyxl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.conftest import FUJIMI, SEED, Backend, Here, Service, lent, started
from tests.test_samples import FILES, send

PLAN = "fujimi-yumetsunagu"
FORMS = ("csv", "tsv", "xlsx", "jsonl")
NOUNS = ("plans", "sections", "measures", "evaluations")


def table(answer: httpx.Response) -> list[list[str]]:
    """The cells of a file, read by a library that is not ours."""
    assert answer.status_code == 200, answer.text
    kind = answer.headers["content-type"].partition(";")[0]
    if kind == "text/csv":
        return list(csv.reader(io.StringIO(answer.content.decode("utf-8-sig"), newline="")))
    if kind == "text/tab-separated-values":
        return [line.split("\t") for line in answer.content.decode().split("\n")[:-1]]
    sheet = openpyxl.load_workbook(io.BytesIO(answer.content)).worksheets[0]
    return [["" if cell.value is None else str(cell.value) for cell in row] for row in sheet.iter_rows()]


def unchanged(client: httpx.Client, content: bytes, name: str, **parameters: Any) -> None:
    before = client.get("/plans").json()["metadata"]["revision"]
    answer = client.post("/imports", params={"name": name, **parameters}, content=content)
    assert answer.status_code == 200, answer.text
    report = answer.json()
    assert report["created"] == report["updated"] == dict.fromkeys(report["created"], 0)
    assert report["revision"] == before
    warnings = [json.dumps(warning) for warning in report["warnings"]]
    assert len(warnings) == len(set(warnings))


@pytest.mark.parametrize("form", ["csv", "tsv", "xlsx"])
def test_a_file_has_the_rows_of_the_list_under_its_fields(form: str, read: httpx.Client):
    fields = "key,section,measure_code,fiscal_year,fiscal_year_label,implementation,rating,department"
    query = {"section": "3", "rating": "B", "sort": "-code", "fields": fields}
    rows = read.get("/evaluations", params=query).json()["results"]
    header, *found = table(read.get(f"/evaluations.{form}", params=query))
    assert header == fields.split(",")
    assert found == [
        ["" if row[name] is None else str(row[name]) for name in fields.split(",")] for row in rows
    ]
    assert found[0][3:5] == ["2017", "平成29年度"]


def test_json_lines_are_the_rows_of_the_list(read: httpx.Client):
    for noun in (*NOUNS, "documents"):
        rows = read.get(f"/{noun}", params={"limit": 1000}).json()["results"]
        answer = read.get(f"/{noun}.jsonl")
        assert answer.headers["content-type"] == "application/jsonl"
        assert [httpx.Response(200, content=line).json() for line in answer.content.splitlines()] == rows


@pytest.mark.parametrize("form", ["csv", "tsv", "xlsx", "jsonl"])
def test_a_file_of_many_rows_has_each_of_them_once_and_in_order(form: str, editor: httpx.Client):
    texts = {n: "=1" if n % 7 == 0 else f'{n} 回, "催し"' for n in range(100, 1101)}
    rows = [
        {"plan": PLAN, "measure_code": "4-2-1", "fiscal_year": 2017, "ordinal": n, "implementation": text}
        for n, text in texts.items()
    ]
    assert editor.post("/imports", params={"name": "many.json"}, json=rows).status_code == 200
    told = editor.get(f"/evaluations.{form}?measure=4-2-1&fields=ordinal,implementation&sort=-ordinal")
    if form == "jsonl":
        found = [tuple(json.loads(line).values()) for line in told.content.splitlines()]
    else:
        found = [(int(n), cell.removeprefix("'")) for n, cell in table(told)[1:]]
    assert found[:-3] == [*reversed(texts.items())]
    assert [n for n, _ in found[-3:]] == [3, 2, 1]


def test_what_has_parts_takes_a_column_for_each_of_them(read: httpx.Client):
    header, first, *_ = table(read.get("/measures.csv?fields=code,title,path"))
    assert header == ["code", "title", "path.1", "path.2", "path.3"]
    assert first[2:] == ["第1節", "1", "①"]
    assert "ratings" not in table(read.get("/plans.csv"))[0]
    assert read.get("/plans.csv?fields=slug,ratings").json()["errors"][0]["parameter"] == "fields"


def test_files_have_japanese_names_types_and_tags(read: httpx.Client):
    for form, kind in {
        "csv": "text/csv; charset=utf-8",
        "tsv": "text/tab-separated-values; charset=utf-8",
        "xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
        "jsonl": "application/jsonl",
    }.items():
        answer = read.get(f"/evaluations.{form}")
        assert answer.headers["content-type"] == kind
        plain, _, named = answer.headers["content-disposition"].partition("; filename*=UTF-8''")
        assert (plain, unquote(named)) == (
            f'attachment; filename="evaluations.{form}"',
            f"年度評価一覧.{form}",
        )
        tag = answer.headers["etag"]
        assert read.get(f"/evaluations.{form}", headers={"If-None-Match": tag}).status_code == 304
        head = read.head(f"/evaluations.{form}")
        assert (head.status_code, head.headers["etag"], head.content) == (200, tag, b"")
        assert answer.headers["shinchoku-revision"] == "56"
    assert read.get("/evaluations.csv").content.startswith(b"\xef\xbb\xbf")
    assert read.get("/evaluations.pdf").status_code == 404
    assert read.get("/evaluations.csv?limit=1").status_code == 422


def test_the_summary_has_one_row_for_each_group_and_rating(read: httpx.Client):
    assert table(read.get("/evaluations/summary.csv?group_by=section&section=4")) == [
        ["section", "section_label", "rating", "count", "share", "total", "rated", "unrated"],
        ["4", "第4節", "A", "5", "0.7143", "7", "7", "0"],
        ["4", "第4節", "B", "2", "0.2857", "7", "7", "0"],
    ]
    assert table(read.get("/evaluations/summary.xlsx?unit=measure")) == [
        ["rating", "count", "share", "total", "rated", "unrated", "mixed"],
        ["A", "15", "0.625", "24", "24", "0", "0"],
        ["B", "9", "0.375", "24", "24", "0", "0"],
    ]


def test_cp932_is_written_or_refused_with_what_it_lacks(editor: httpx.Client):
    seed = editor.get("/evaluations.csv", params={"encoding": "cp932"})
    assert seed.headers["content-type"] == "text/csv; charset=windows-31j"
    assert seed.content.decode("cp932") == editor.get("/evaluations.csv").content.decode("utf-8-sig")
    row = {"plan": PLAN, "measure_code": "1-1-1", "fiscal_year": "H30", "implementation": "20㎥ ⑴ – 1㎡"}
    assert editor.post("/evaluations", json=row).status_code == 201
    answer = editor.get("/evaluations.csv", params={"encoding": "cp932"}, headers={"Accept-Language": "en"})
    assert (answer.status_code, answer.json()["errors"]) == (
        422,
        [
            {
                "parameter": "encoding",
                "detail": "These characters have no form in cp932: – (U+2013) ⑴ (U+2474) ㎥ (U+33A5). "
                "Leave encoding out for UTF-8.",
            }
        ],
    )


def test_the_seed_comes_out_as_it_came_in(read: httpx.Client):
    answer = read.get(f"/plans/{PLAN}/document.tsv", params={"fiscal_year": "H29"})
    assert answer.headers["content-disposition"].startswith('attachment; filename="document-2017.tsv"; ')
    title, subtitle, blank, header, *rows = answer.content.split(b"\n")
    seed = SEED.read_bytes().split(b"\n")
    assert rows == [line for line in seed if line.startswith("第".encode())] + [b""]
    assert title == seed[2].rstrip()
    assert (subtitle.decode(), blank) == ("(平成29年度進捗状況評価結果)", b"")
    assert header.decode() == "項目\t\t\t計画\tH29実施内容\t評価\t理由・課題等\tH30計画内容"
    assert table(read.get(f"/plans/{PLAN}/document.xlsx", params={"fiscal_year": "H29"}))[4:] == [
        line.decode().split("\t") for line in rows[:-1]
    ]


def test_a_year_without_evaluations_has_no_document(read: httpx.Client):
    assert read.get(f"/plans/{PLAN}/document.tsv?fiscal_year=H30").status_code == 404
    assert read.get(f"/plans/{PLAN}/document.tsv").status_code == 422
    assert read.get("/plans/nowhere/document.tsv?fiscal_year=H29").status_code == 404
    gone = read.get("/plans/99/document.tsv?fiscal_year=H29", headers={"If-None-Match": "*"})
    assert gone.status_code == 404


# ---------------------------------------------------------------------------------------------------------
# In again


@pytest.fixture(scope="module")
def archive(backend: Backend) -> Iterator[httpx.Client]:
    """A service with the seed and all samples."""
    with lent(backend) as service, service.holder(service.key("admin")) as client:
        for file in FILES:
            send(client, file).raise_for_status()
        yield client


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("noun", NOUNS)
def test_a_list_goes_in_again_without_a_change(noun: str, form: str, archive: httpx.Client):
    unchanged(archive, archive.get(f"/{noun}.{form}").content, f"list.{form}")


def test_a_snapshot_goes_in_again_without_a_change(archive: httpx.Client):
    unchanged(archive, archive.get("/snapshot.jsonl").content, "snapshot.jsonl")


@pytest.mark.parametrize("form", ["tsv", "xlsx"])
def test_every_document_goes_in_again_without_a_change(form: str, archive: httpx.Client):
    years = set()
    for line in archive.get("/evaluations.jsonl?fields=plan,fiscal_year").content.splitlines():
        row = httpx.Response(200, content=line).json()
        years.add((row["plan"], row["fiscal_year"]))
    assert len(years) > 14
    for plan, year in sorted(years):
        document = archive.get(f"/plans/{plan}/document.{form}", params={"fiscal_year": year})
        unchanged(archive, document.content, f"document.{form}", plan=plan)


# What people and machines write into cells, and what spreadsheets make of it.
NASTY = [
    "=1+1",
    "+81",
    "-",
    "--",
    "-5",
    "@a",
    "'=1",
    "''",
    '"',
    '"a"',
    '"a,b"',
    "a\tb",
    "a\nb",
    "'-",
    "_x0041_",
]
LETTERS = st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"])
NASTY_LINES = st.sampled_from([text for text in NASTY if "\n" not in text and "\t" not in text])
ONE_LINE = NASTY_LINES | st.text(LETTERS, min_size=1, max_size=12)
PROSE = st.sampled_from(NASTY) | st.text(LETTERS | st.sampled_from("\n\t"), min_size=1, max_size=30)


def seen(texts: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return texts.filter(lambda text: text.strip() != "" and not text.isspace())


CODE = st.from_regex(r"[A-Za-z0-9ア-ン第章①-⑩_=+@'-]{1,8}", fullmatch=True)
ROW = st.fixed_dictionaries(
    {
        "implementation": st.none() | seen(PROSE),
        "rationale": st.none() | seen(PROSE),
        "next_plan": st.none() | seen(PROSE),
        "rating": st.none()
        | ONE_LINE.map(str.strip).filter(lambda text: text not in ("", "none") and "," not in text),
        "department": st.none() | seen(ONE_LINE),
        "extra": st.dictionaries(seen(ONE_LINE), seen(PROSE), max_size=2),
    }
)
MEASURE = st.tuples(
    CODE, seen(ONE_LINE), st.lists(seen(ONE_LINE), max_size=3), st.lists(ROW, min_size=1, max_size=2)
)


@pytest.fixture(scope="module")
def press(backend: Backend) -> Iterator[httpx.Client]:
    """A service for generated plans."""
    with lent(backend) as service, service.holder(service.key("admin")) as client:
        yield client


made = iter(range(1, 1_000_000))


PLANS_MEASURES = st.lists(MEASURE, min_size=1, max_size=12, unique_by=lambda measure: measure[0])


@settings(
    max_examples=int(os.environ.get("SHINCHOKU_EXAMPLES", "3")),
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
@given(PLANS_MEASURES, seen(ONE_LINE), CODE)
def test_whatever_a_plan_holds_comes_back_from_each_form(press: httpx.Client, measures, title, section):
    plan = f"p{next(made)}"
    lines: list[dict[str, Any]] = [
        {
            "entity": "plan",
            "data": {"slug": plan, "title": title, "municipality_code": FUJIMI, "municipality": "市"},
        },
        {"entity": "section", "data": {"plan": plan, "code": section}},
    ]
    for code, name, path, rows in measures:
        row = {"plan": plan, "section": section, "code": code, "title": name, "path": path}
        lines.append({"entity": "measure", "data": row})
        for ordinal, told in enumerate(rows, 1):
            key = {"plan": plan, "measure_code": code, "fiscal_year": 2018, "ordinal": 2 * ordinal}
            lines.append({"entity": "evaluation", "data": key | told})
    answer = press.post("/imports", params={"name": "new.json"}, json=lines)
    assert answer.status_code == 200, answer.text
    for form in FORMS:
        for noun in ("measures", "evaluations"):
            unchanged(press, press.get(f"/{noun}.{form}", params={"plan": plan}).content, f"list.{form}")
    for form in ("tsv", "xlsx"):
        document = press.get(f"/plans/{plan}/document.{form}", params={"fiscal_year": 2018})
        unchanged(press, document.content, f"document.{form}", plan=plan)


def test_no_cell_is_a_formula(town: Service, tmp_path: Path):
    with town.holder(town.key("admin")) as client:
        for text in NASTY:
            row = {"plan": PLAN, "measure_code": "1-1-1", "fiscal_year": "H30", "implementation": text}
            assert client.post("/evaluations", json=row).status_code == 201
        query = {"fiscal_year": "H30", "fields": "implementation"}
        sheet = openpyxl.load_workbook(io.BytesIO(client.get("/evaluations.xlsx", params=query).content))
        cells = [cell for (cell,) in sheet.worksheets[0].iter_rows(min_row=2)]
        assert {cell.data_type for cell in cells} == {"s"}
        for form in ("csv", "tsv"):
            text = client.get(f"/evaluations.{form}", params=query).content.decode("utf-8-sig")
            rows = csv.reader(io.StringIO(text, newline=""), delimiter="," if form == "csv" else "\t")
            for (cell,) in rows:
                assert cell == "-" or cell[0] not in "=+-@\t"


def test_tabs_in_the_names_of_a_table_are_layout_and_no_export_is_refused_for_them(admin: httpx.Client):
    made = openpyxl.Workbook()
    for row in (
        ["令和5年度\t架空計画"],
        ["番号", "事業名", "担当\t課", "実績", "評価", "備\t考欄外"],
        ["第1節\t学び"],
        ["1\t", "学\t習\n支援", "福祉\t課", "5\t件", "A\t拡充", "外\t出"],
    ):
        made.active.append(row)
    out = io.BytesIO()
    made.save(out)
    told = {"plan": "tabs", "municipality_code": "479012", "municipality": "例示市", "fiscal_year": "R5"}
    answer = admin.post("/imports", params={"name": "tabs.xlsx", **told}, content=out.getvalue())
    assert answer.status_code == 200, answer.text
    [row] = admin.get("/evaluations", params={"plan": "tabs"}).json()["results"]
    assert (row["measure_title"], row["department"], row["rating_printed"], row["implementation"]) == (
        "学 習 支援",
        "福祉 課",
        "A 拡充",
        "5\t件",
    )
    for noun in ("plans", "sections", "measures", "evaluations"):
        for form in FORMS:
            unchanged(admin, admin.get(f"/{noun}.{form}").content, f"{noun}.{form}")
    unchanged(admin, admin.get("/snapshot.jsonl").content, "snapshot.jsonl")
    for form in ("tsv", "xlsx"):
        document = admin.get(f"/plans/tabs/document.{form}", params={"fiscal_year": 2023}).content
        unchanged(admin, document, f"document.{form}", plan="tabs")


# ---------------------------------------------------------------------------------------------------------
# The command


@pytest.fixture(scope="module")
def served(backend: Backend) -> Iterator[tuple[str, httpx.Client]]:
    url = backend.seeded()
    with started(url) as service:
        yield url, service.anyone


@pytest.mark.parametrize(
    ("asked", "what", "name", "options"),
    [
        (
            f"/evaluations.csv?plan={PLAN}&rating=A,none&sort=-id",
            "evaluations",
            "a.csv",
            ["--rating", "A,none"],
        ),
        (
            f"/evaluations.csv?plan={PLAN}&encoding=cp932&sort=-id",
            "evaluations",
            "a.csv",
            ["--encoding", "cp932"],
        ),
        (f"/measures.jsonl?plan={PLAN}&section=4&sort=-id", "measures", "a.JSONL", ["--section", "4"]),
        (
            f"/evaluations/summary.tsv?plan={PLAN}&group_by=section",
            "summary",
            "a.tsv",
            ["--group-by", "section"],
        ),
        (f"/plans/{PLAN}/document.tsv?fiscal_year=H29", "document", "a.tsv", ["--fiscal-year", "H29"]),
    ],
)
def test_the_command_writes_what_the_address_answers(
    asked: str,
    what: str,
    name: str,
    options: list[str],
    served: tuple[str, httpx.Client],
    here: Here,
    tmp_path: Path,
):
    url, client = served
    file = tmp_path / name
    sorting = ["--sort=-id"] if "sort" in asked else []
    done = here("export", what, file, "--plan", PLAN, *options, *sorting, database_url=url)
    answer = client.get(asked)
    assert (done, answer.status_code) == ((0, f"{file}: {len(answer.content):,} bytes\n", ""), 200)
    assert file.read_bytes() == answer.content
    assert [each.name for each in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize(
    ("what", "name", "options", "why"),
    [
        ("evaluations", "a.csv", ["--plan", "nope"], "--plan nope: there is no such plan"),
        (
            "document",
            "a.tsv",
            ["--plan", "nope", "--fiscal-year", "H29"],
            "--plan nope: there is no such plan",
        ),
        ("document", "a.tsv", ["--plan", PLAN], "give --plan and --fiscal-year, and nothing else"),
        ("document", "a.csv", ["--plan", PLAN], "a.csv: give the file one of these suffixes: .tsv, .xlsx"),
        ("measures", "a.pdf", [], "a.pdf: give the file one of these suffixes: .csv, "),
        ("plans", "a.csv", ["--rating", "A"], "--rating does not apply here"),
        ("measures", "a.csv", ["--sort", "colour"], "--sort: Give a comma list of these names"),
        ("plans", "a.csv", ["--encoding", "latin-1"], "--encoding latin-1: it can be utf-8 or cp932"),
        ("plans", "no/a.csv", [], "cannot be written: No such file or directory"),
    ],
)
def test_what_the_command_cannot_write_is_told_and_leaves_the_file_that_was_there(
    what: str,
    name: str,
    options: list[str],
    why: str,
    served: tuple[str, httpx.Client],
    here: Here,
    tmp_path: Path,
):
    file = tmp_path / name
    if "/" not in name:
        file.write_text("before")
    before = sorted(tmp_path.iterdir())
    code, out, said = here("export", what, file, *options, database_url=served[0])
    assert (code, out) == (1, "")
    assert why in said
    assert sorted(tmp_path.iterdir()) == before
    assert "/" in name or file.read_text() == "before"
