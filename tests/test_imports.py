"""Tables in: all or nothing, twice is once, what is not sure is asked, and a hostile file costs the server nothing."""

import io
import json
import random
import struct
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import openpyxl
import pytest

import app.changes
from app.documents import records, tables
from app.models import EvaluationFields, MeasureFields
from tests.conftest import FUJIMI, KAWAGOE, SEED, Backend, Service, lent, started

PLAN = "fujimi-yumetsunagu"
ENGLISH = {"Accept-Language": "en"}
ANY = {"If-Match": "*"}
NEW = {"plan": "new", "municipality_code": FUJIMI, "municipality": "富士見市"}
TITLE = "例示計画"
HEAD = ["番号", "事業名", "担当課", "H29実績", "評価", "課題"]
ROW = ["1-1", "学習支援", "こども課", "42回", "A", "会場"]


def text(*rows: list[str], title: str | None = TITLE) -> bytes:
    lines = ["\t".join(row) for row in rows]
    return "\n".join([title, *lines] if title else lines).encode()


def post(client: httpx.Client, content: bytes, name: str = "table.tsv", **told: Any) -> httpx.Response:
    return client.post("/imports", params={"name": name, **told}, content=content, headers=ENGLISH)


def report(answer: httpx.Response) -> dict[str, Any]:
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def errors(answer: httpx.Response) -> list[dict[str, Any]]:
    assert answer.status_code == 422, answer.text
    found: list[dict[str, Any]] = answer.json()["errors"]
    return found


def rows(client: httpx.Client, plan: str = "new", **query: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = client.get("/evaluations", params={"plan": plan, **query}).json()["results"]
    return found


# ---------------------------------------------------------------------------------------------------------
# The file, its name, and who may send it


def test_a_dry_run_tells_the_same_and_changes_nothing(admin: httpx.Client):
    tried = report(post(admin, text(HEAD, ROW), dry_run=True, **NEW))
    assert admin.get("/plans/new").status_code == 404
    assert (tried["dry_run"], tried["document"], tried["revision"]) == (True, None, 56)
    done = report(post(admin, text(HEAD, ROW), **NEW))
    assert (done["dry_run"], done["revision"]) == (False, 61)
    assert {**tried, "dry_run": False, "document": done["document"], "revision": 61} == done
    assert admin.get(f"/documents/{done['document']}/content").content == text(HEAD, ROW)
    assert done["created"] == {"plan": 1, "document": 1, "section": 1, "measure": 1, "evaluation": 1}


def test_what_is_written_is_what_was_tried_or_nothing(admin: httpx.Client):
    """Whatever happens to the plan in between; other plans may move as they like."""
    report(post(admin, text(HEAD, ROW), **NEW))
    table = text(HEAD, [*ROW[:3], "50回", *ROW[4:]])
    tried = report(post(admin, table, dry_run=True, **NEW))
    assert admin.patch(f"/plans/{PLAN}", json={"licence": "CC BY 4.0"}, headers=ANY).is_success
    assert tried["updated"]["evaluation"] == 1
    [row] = rows(admin)
    changed = admin.patch(f"/evaluations/{row['id']}", json={"implementation": "44回"}, headers=ANY).json()
    for told in ({}, {"dry_run": True}):
        answer = post(admin, table, revision=tried["revision"], **NEW, **told)
        assert (answer.status_code, answer.json()) == (
            412,
            {
                "type": "/docs/problems/precondition-failed",
                "title": "Somebody changed it in the meantime",
                "status": 412,
                "detail": "The plan was changed after the dry run. Nothing was written. "
                "Try it once more and look at what would come of it.",
                "instance": "/imports",
            },
        )
    assert rows(admin) == [changed]
    tried = report(post(admin, table, dry_run=True, **NEW))
    assert admin.patch(f"/plans/{PLAN}", json={"licence": None}, headers=ANY).is_success
    done = report(post(admin, table, revision=tried["revision"], **NEW))
    assert {**tried, "dry_run": False, "document": done["document"], "revision": done["revision"]} == done
    assert rows(admin)[0]["implementation"] == "50回"


def test_a_dry_run_of_other_data_counts_for_nothing(admin: httpx.Client):
    answer = post(admin, text(HEAD, ROW), revision=1_000, **NEW)
    assert (answer.status_code, answer.json()["detail"]) == (
        412,
        "Revision 1000 is not reached here, at 56: that dry run was of other data. Nothing was written. "
        "Try it once more and look at what would come of it.",
    )
    assert admin.get("/plans/new").status_code == 404


def test_a_plan_that_was_to_be_new_is_not_written_into_unseen(admin: httpx.Client):
    tried = report(post(admin, text(HEAD, ROW), dry_run=True, **NEW))
    assert tried["created"]["plan"] == 1
    report(post(admin, text(HEAD, ["1-1", "別の施策", "", "", "", ""]), **NEW))
    answer = post(admin, text(HEAD, ROW), revision=tried["revision"], on_rename="update", **NEW)
    assert answer.status_code == 412
    assert admin.get("/measures?plan=new").json()["results"][0]["title"] == "別の施策"


def test_a_revision_that_was_never_reached_is_of_other_data(admin: httpx.Client):
    """Such as that of a database before its backup was restored."""
    assert post(admin, text(HEAD, ROW), revision=57, **NEW).status_code == 412
    assert admin.get("/plans/new").status_code == 404
    assert report(post(admin, text(HEAD, ROW), revision=56, **NEW))["revision"] == 61
    [error] = errors(post(admin, text(HEAD, ROW), revision="56.0", **NEW))
    assert error["parameter"] == "revision"


def test_a_dry_run_of_many_rows_tells_the_revision_that_is(
    admin: httpx.Client, monkeypatch: pytest.MonkeyPatch
):
    """They take numbers before the end, which nobody else has ever seen."""
    monkeypatch.setattr(app.changes, "MOST_NOTES", 2)
    answer = post(admin, text(HEAD, ROW, ["1-2", *ROW[1:]]), dry_run=True, **NEW)
    assert (report(answer)["revision"], answer.headers["Shinchoku-Revision"]) == (56, "56")
    assert report(post(admin, text(HEAD, ROW, ["1-2", *ROW[1:]]), revision=56, **NEW))["revision"] == 63


@pytest.mark.parametrize(
    "disposition",
    [
        'attachment; filename="table.tsv"',
        "attachment; filename*=UTF-8''%E8%A1%A8.tsv",
        'attachment; filename="C:\\\\dir\\\\table.tsv"',
    ],
)
def test_a_file_may_bring_its_name(disposition: str, admin: httpx.Client):
    headers = {"Content-Disposition": disposition}
    answer = admin.post("/imports", params=NEW, content=text(HEAD, ROW), headers=headers)
    document = admin.get(f"/documents/{report(answer)['document']}").json()
    assert document["name"] in ("table.tsv", "表.tsv")


def test_a_file_without_a_name_is_what_its_media_type_says(admin: httpx.Client):
    headers = {"Content-Type": "text/tab-separated-values; charset=utf-8"}
    assert report(admin.post("/imports", params=NEW, content=text(HEAD, ROW), headers=headers))
    answer = admin.post("/imports", params=NEW, content=text(HEAD, ROW))
    assert errors(answer)[0]["parameter"] == "name"


def test_a_form_is_no_file(admin: httpx.Client):
    part = {"file": ("table.tsv", text(HEAD, ROW))}
    for told in (NEW, {**NEW, "name": "table.tsv"}, {**NEW, "name": "table.xlsx"}):
        [error] = errors(admin.post("/imports", params=told, files=part, headers=ENGLISH))
        assert "Send the file itself as the body" in error["detail"]
    [error] = errors(admin.post("/imports", params={**NEW, "name": "t.csv"}, files=part))
    assert "--data-binary @ファイル名" in error["detail"]
    assert admin.get("/plans/new").status_code == 404


def test_an_editor_imports_into_plans_of_the_own_municipality_only(town: Service):
    with town.holder(town.key("editor", KAWAGOE)) as stranger, town.holder(town.key("editor", FUJIMI)) as own:
        before = own.get("/plans").json()["metadata"]["revision"]
        for told in (NEW, {"plan": PLAN}):
            assert post(stranger, text(HEAD, ROW), **told).status_code == 403
        assert post(town.anyone, text(HEAD, ROW), **NEW).status_code == 401
        assert own.get("/plans").json()["metadata"]["revision"] == before
        assert report(post(own, text(HEAD, ROW), **NEW))["created"]["plan"] == 1


def test_a_file_has_a_limit_of_its_own(backend: Backend):
    url = backend.seeded()
    limits = {"max_body_bytes": 1_000, "max_import_bytes": 5_000}
    with started(url, **limits) as service, service.holder(service.key("admin")) as client:
        long = [*ROW[:5], "課" * 1_000]
        assert report(post(client, text(HEAD, long), **NEW))
        assert post(client, text(HEAD, long, long), **NEW).status_code == 413
        assert client.post("/plans", content=b" " * 1_001).status_code == 413
    backend.drop(url)


# ---------------------------------------------------------------------------------------------------------
# All or nothing, twice is once


def test_everything_that_is_wrong_is_told_at_once_with_its_place(admin: httpx.Client):
    bad = [["x", *ROW[1:]], ["1-2", "", *ROW[2:]], ["1-3", "施策", "課", "実" * 10_001, "A", ""], ROW]
    answer = post(admin, text(HEAD, *bad), **NEW)
    told = [(error["line"], error["column"], error["text"]) for error in errors(answer)]
    assert told == [(3, 1, "x"), (4, 2, ""), (5, 4, "実" * 99 + "…")]
    assert all(error["detail"] for error in errors(answer))
    understood = answer.json()["report"]
    assert understood["title"] == TITLE
    assert understood["mapping"][0] == {"column": 1, "header": "番号", "field": "path"}
    assert answer.json()["title"] == "The input is not valid"
    assert admin.get("/plans/new").status_code == 404


def test_more_than_a_hundred_mistakes_are_told_all(admin: httpx.Client):
    answer = post(admin, text(HEAD, *(["x", *ROW[1:]] for _ in range(250))), **NEW)
    assert len(errors(answer)) == 250


def test_a_file_that_says_nothing_new_is_not_kept_and_moves_nothing(admin: httpx.Client):
    first = report(post(admin, text(HEAD, ROW), **NEW))
    again = report(post(admin, text(HEAD, ROW), "other.tsv", **NEW))
    assert (again["document"], again["revision"]) == (first["document"], first["revision"])
    other = report(post(admin, text(HEAD, ROW, [""] * 6), "other.tsv", plan="new"))
    assert (other["document"], other["revision"]) == (None, first["revision"])
    assert rows(admin)[0]["document_id"] == first["document"]


def test_only_rows_that_changed_point_to_the_new_document(admin: httpx.Client):
    second = ["1-2", "食堂", "こども課", "", "B", ""]
    first = report(post(admin, text(HEAD, ROW, second), **NEW))
    later = report(post(admin, text(HEAD, second, [*ROW[:3], "43回", *ROW[4:]]), plan="new"))
    assert later["updated"]["evaluation"] == later["unchanged"]["evaluation"] == 1
    found = {row["measure_code"]: (row["document_id"], row["source_line"]) for row in rows(admin)}
    assert found == {"1-1": (later["document"], 4), "1-2": (first["document"], 4)}


def test_what_a_document_has_no_column_for_stays(admin: httpx.Client):
    post(admin, text([*HEAD, "予算額", "備考"], [*ROW, "100", "注記"]), **NEW)
    report(post(admin, text([*HEAD[:5], "予算額"], [*ROW[:4], "B", "200"]), plan="new"))
    [row] = rows(admin)
    assert (row["rating"], row["rationale"], row["extra"]) == ("B", "会場", {"予算額": "200", "備考": "注記"})


@pytest.mark.parametrize("below", [[], [["合計", "", "", "42回", "", ""]], [["※ 再掲を除く", *[""] * 5]]])
def test_a_table_without_a_row_of_a_measure_is_no_success(below: list[list[str]], admin: httpx.Client):
    [error] = errors(post(admin, text(HEAD, *below), **NEW))
    assert error["line"] == 2
    assert "no row of a measure below it" in error["detail"]
    assert "--data-binary" not in error["detail"]
    told = {"plan": PLAN, "name": "table.tsv"}
    [error] = errors(admin.post("/imports", params=told, content=text(HEAD, *below)))
    assert "施策の行がありません" in error["detail"]


@pytest.mark.parametrize("name", ["table.tsv", "table.csv", "rows.jsonl", "notes.tsv"])
def test_who_lost_the_line_breaks_on_the_way_is_told_how_to_send_them(name: str, admin: httpx.Client):
    """As curl -d does it, which is what people try first."""
    content = {
        "table.tsv": text(HEAD, ROW, [*ROW, "1-2"]),
        "table.csv": text(HEAD, ROW, title=None).replace(b"\t", b","),
        "rows.jsonl": admin.get("/sections.jsonl").content,
        "notes.tsv": "番号と名称\nを書く".encode(),
    }[name]
    told = errors(post(admin, content.replace(b"\n", b""), name, **NEW))
    assert "send it with curl --data-binary @FILE and not with -d" in told[0]["detail"]
    assert told[0].get("line") in (1, None)


def test_what_is_wrong_with_the_rows_is_told_and_not_that_there_are_none(admin: httpx.Client):
    [error] = errors(post(admin, text(HEAD, [*ROW, "欄外"]), **NEW))
    assert (error["line"], "7 columns" in error["detail"]) == (3, True)


def test_a_new_plan_needs_its_municipality_and_a_title(admin: httpx.Client):
    assert errors(post(admin, text(HEAD, ROW)))[0]["parameter"] == "plan"
    assert errors(post(admin, text(HEAD, ROW), plan="new"))[0]["parameter"] == "municipality_code"
    [error] = errors(post(admin, text(HEAD, ROW, title=None), **NEW))
    assert error["detail"].startswith("There is no title.")
    assert report(post(admin, text(HEAD, ROW, title=None), **NEW | {"title": TITLE}))["title"] is None
    assert admin.get("/plans/new").json()["title"] == TITLE


@pytest.mark.parametrize(
    "title", ["令和元年度 例示計画 進捗状況", "例示計画の実績報告", "例示計画 令和5年度"]
)
def test_a_new_plan_that_is_called_like_a_report_is_told_of(title: str, admin: httpx.Client):
    tried = report(post(admin, text(HEAD, ROW, title=title), dry_run=True, fiscal_year="H29", **NEW))
    [told] = [warning["en"] for warning in tried["warnings"] if "new plan" in warning["en"]]
    assert told == (
        f'The new plan is called "{title}", as this document is. '
        "Tell its own title with title, without words of a year or a report."
    )
    told = {**NEW, "title": TITLE, "fiscal_year": "H29"}
    for made in (1, 0):  # told once more, it is no other title
        done = report(post(admin, text(HEAD, ROW, title=title), **told))
        assert done["created"]["plan"] == made
        assert [warning for warning in done["warnings"] if "title" in warning["en"]] == []
        assert admin.get("/plans/new").json()["title"] == TITLE


@pytest.mark.parametrize(
    "title", [TITLE, "第2次例示計画（令和3年度～令和7年度）", "例示計画（令和4年度改定）"]
)
def test_a_plan_may_be_called_by_its_term(title: str, admin: httpx.Client):
    done = report(post(admin, text(HEAD, ROW, title=title), **NEW))
    assert not any("new plan" in warning["en"] for warning in done["warnings"])
    assert admin.get("/plans/new").json()["title"] == title


def test_a_renamed_measure_waits_to_be_told(admin: httpx.Client):
    post(admin, text(HEAD, ROW), **NEW)
    renamed = [ROW[0], "学習の支援", *ROW[2:]]
    [error] = errors(post(admin, text(HEAD, renamed), plan="new"))
    assert (error["line"], error["text"]) == (3, "学習の支援")
    assert "on_rename=update" in error["detail"]
    done = report(post(admin, text(HEAD, renamed), plan="new", on_rename="update"))
    assert done["measures"] == {"new": [], "missing": [], "renamed": ["1-1"]}
    assert admin.get("/measures?plan=new").json()["results"][0]["title"] == "学習の支援"
    spaced = [ROW[0], "学習の 支援", *ROW[2:]]
    assert report(post(admin, text(HEAD, spaced), plan="new"))["updated"]["measure"] == 0


def test_measures_that_are_new_or_missing_are_named(admin: httpx.Client):
    post(admin, text(HEAD, ROW, ["1-2", "食堂", "", "", "B", ""]), **NEW)
    done = report(post(admin, text(HEAD, ROW, ["1-3", "居場所", "", "", "B", ""]), plan="new"))
    assert done["measures"] == {"new": ["1-3"], "missing": ["1-2"], "renamed": []}
    assert [warning["en"] for warning in done["warnings"]] == [
        "new/1-2/2017/1 is on record and not in this document. Remove it if it should go."
    ]


def test_a_closed_scale_refuses_a_mark_with_its_line(admin: httpx.Client):
    post(admin, text(HEAD, ROW), **NEW)
    headers = {"If-Match": "*"}
    assert admin.patch("/plans/new", json={"ratings_closed": True}, headers=headers).status_code == 200
    [error] = errors(post(admin, text(HEAD, ROW, ["1-2", "食堂", "", "", "Z", ""]), plan="new"))
    assert (error["line"], error["text"]) == (4, "Z")


# ---------------------------------------------------------------------------------------------------------
# What is not sure is asked


@pytest.mark.parametrize("mark", ["休止", "廃止", "中止", "完了", "終了"])
def test_what_was_not_carried_out_is_unrated_until_it_is_declared_a_rating(mark: str, admin: httpx.Client):
    table = [HEAD, ROW, ["1-2", "食堂", "課", "なし", mark, "感染症"], ["1-3", "塾", "課", "なし", mark, ""]]
    done = report(post(admin, text(*table), **NEW))
    [told] = [warning for warning in done["warnings"] if "read as no rating" in warning["en"]]
    assert (told["line"], told["column"], told["text"]) == (4, 5, mark)
    assert f"「{mark}」は評価ではなく" in told["ja"]

    def ratings() -> list[tuple[str | None, str]]:
        return [(row["rating"], row["rating_printed"]) for row in rows(admin)]

    def scale() -> list[str]:
        return [each["code"] for each in admin.get("/plans/new").json()["ratings"]]

    assert (scale(), ratings()) == (["A"], [("A", "A"), (None, mark), (None, mark)])
    year = admin.get("/plans/new/document.tsv?fiscal_year=H29").content
    assert "評価コード".encode() not in year
    assert report(post(admin, year, plan="new"))["revision"] == done["revision"]

    declared = {
        "ratings": [*admin.get("/plans/new").json()["ratings"], {"code": mark}],
        "ratings_closed": True,
    }
    assert admin.patch("/plans/new", json=declared, headers={"If-Match": "*"}).status_code == 200
    before = admin.get("/plans/new/document.tsv?fiscal_year=H29").content
    stand = report(post(admin, before, plan="new", dry_run=True))
    assert (stand["updated"]["evaluation"], stand["created"]["evaluation"]) == (0, 0)
    again = report(post(admin, text(*table), plan="new"))
    assert again["updated"]["evaluation"] == 2
    assert ratings()[1:] == [(mark, mark)] * 2


@pytest.mark.parametrize("mark", ["休止", "完了"])
def test_a_legend_may_declare_what_was_not_carried_out_a_rating(mark: str, admin: httpx.Client):
    legend = [[f"凡例　A：達成　{mark}：事業を休止したもの", *[""] * 5], ["※ 廃止の事業は除く", *[""] * 5]]
    done = report(post(admin, text(*legend, HEAD, ROW, ["1-2", *ROW[1:4], mark, ""]), **NEW))
    assert not any("read as no rating" in warning["en"] for warning in done["warnings"])
    told = {each["code"]: each["label"] for each in admin.get("/plans/new").json()["ratings"]}
    assert told == {"A": "達成", mark: "事業を休止したもの"}
    assert rows(admin)[1]["rating"] == mark


def test_a_closed_scale_takes_what_was_not_carried_out_as_unrated(admin: httpx.Client):
    post(admin, text(HEAD, ROW), **NEW)
    admin.patch("/plans/new", json={"ratings_closed": True}, headers={"If-Match": "*"})
    assert report(post(admin, text(HEAD, [*ROW[:4], "廃止", ""]), plan="new"))["updated"]["evaluation"] == 1
    assert (rows(admin)[0]["rating"], rows(admin)[0]["rating_printed"]) == (None, "廃止")


def test_a_mapping_wins_and_the_one_of_a_report_can_be_sent_back(admin: httpx.Client):
    header = ["No.", "名前", "係", "やったこと", "できばえ", "H29自己評価"]
    mapping: Any = {"No.": "path", "名前": "title", "係": "department", "やったこと": "implementation"}
    mapping |= {"できばえ": {"field": "rating", "fiscal_year": "H29"}, "6": "ignore"}
    told = {**NEW, "fiscal_year": "H29"}
    done = report(post(admin, text(header, ROW), mapping=json.dumps(mapping), **told))
    [row] = rows(admin)
    assert (row["department"], row["implementation"], row["rating"]) == ("こども課", "42回", "A")
    assert (row["rationale"], row["extra"]) == (None, {})
    again = report(post(admin, text(header, ROW), mapping=json.dumps(done["mapping"]), **told))
    assert (again["mapping"], again["revision"]) == (done["mapping"], done["revision"])


def test_columns_of_one_name_are_told_apart_by_a_name_of_ones_own(admin: httpx.Client):
    table = text(["番号", "事業名", "金額", "H29実績", "金額", ""], ["1", "学習支援", "1", "42回", "2", "3"])
    [error, unnamed] = errors(post(admin, table, **NEW))
    assert '{"5": {"field": "extra", "name": "金額 5"}}' in error["detail"]
    assert (unnamed["line"], unnamed["column"]) == (3, 6)
    mapping: Any = {"5": {"field": "extra", "name": "決算の金額"}, "6": "extra"}
    done = report(post(admin, table, mapping=json.dumps(mapping), **NEW))
    assert done["mapping"][4:] == [
        {"column": 5, "header": "決算の金額", "field": "extra", "name": "決算の金額"},
        {"column": 6, "header": "列6", "field": "extra"},
    ]
    extra = {"金額": "1", "決算の金額": "2", "列6": "3"}
    assert [row["extra"] for row in rows(admin)] == [extra]
    again = report(post(admin, table, mapping=json.dumps(done["mapping"]), **NEW))
    assert (again["mapping"], again["revision"]) == (done["mapping"], done["revision"])
    for form in ("csv", "xlsx"):
        out = admin.get(f"/evaluations.{form}", params={"plan": "new"})
        back = report(post(admin, out.content, f"evaluations.{form}"))
        assert (back["unchanged"]["evaluation"], back["revision"]) == (1, done["revision"])


@pytest.mark.parametrize(
    ("mapping", "where"),
    [
        ("{", "mapping"),
        ('{"5": "nonsense"}', "mapping"),
        ('{"5": {"field": "rating", "fiscal_year": "29"}}', "mapping"),
        ('{"5": {"field": "extra", "name": " "}}', "mapping"),
        ('{"99": "rating"}', None),
        (f'{{"{"9" * 5_000}": "rating"}}', None),
        ('{"どこにもない": "rating"}', None),
    ],
)
def test_a_mapping_that_cannot_be_is_refused(mapping: str, where: str | None, admin: httpx.Client):
    error = errors(post(admin, text(HEAD, ROW), mapping=mapping, **NEW))[0]
    assert error.get("parameter") == where


@pytest.mark.parametrize(
    ("header", "choice"),
    [
        (["番号", "事業名", "H29実績", "H29取組状況", "評価"], "implementation / extra"),
        (["番号", "事業名", "取組内容", "H29評価", "課題"], "title / implementation"),
        (["番号", "事業名", "H29実績", "評価理由", "課題"], "rationale / extra"),
    ],
)
def test_of_two_candidates_none_is_taken(header: list[str], choice: str, admin: httpx.Client):
    found = errors(post(admin, text(header, ["1", "学習支援", "42回", "B", "A"]), **NEW))
    assert choice in found[0]["detail"]
    assert "mapping" in found[0]["detail"]


def test_a_rating_that_may_be_a_department_or_a_text_is_asked_about(admin: httpx.Client):
    lines = [[f"1-{n}", f"施策{n}", "", "実施", name, ""] for n, name in enumerate(("こども課", "福祉課"), 1)]
    [error] = errors(post(admin, text(HEAD, *lines), **NEW))
    assert (error["line"], error["column"]) == (2, 5)
    assert "department / rating" in error["detail"]
    header = [*HEAD[:4], "進捗状況", "課題"]
    lines = [
        [f"1-{n}", f"施策{n}", "", "実施", "関係課との協議を重ねながら順調に進んでいる。", ""] for n in (1, 2)
    ]
    assert "implementation / rating" in errors(post(admin, text(header, *lines), **NEW))[0]["detail"]


def test_a_year_is_told_where_the_document_does_not(admin: httpx.Client):
    header = ["番号", "事業名", "担当課", "29年度実績", "評価", "課題"]
    assert "fiscal_year" in errors(post(admin, text(header, ROW), **NEW))[0]["detail"]
    assert report(post(admin, text(header, ROW), fiscal_year="H29", **NEW))["fiscal_years"] == [2017]


def test_measures_without_numbers_are_counted_when_told_and_keep_their_codes(admin: httpx.Client):
    lines = [row[1:] for row in (HEAD, ROW, ["", "食堂", "", "3か所", "B", ""])]
    [error] = errors(post(admin, text(*lines), **NEW))
    assert "numbering=order" in error["detail"]
    assert report(post(admin, text(*lines), numbering="order", **NEW))["measures"]["new"] == ["1", "2"]
    # Next year another one comes first: those that are known keep what they are called by.
    header = ["事業名", "担当課", "H30実績", "評価", "課題"]
    lines = [header, ["居場所", "", "", "A", ""], lines[2], lines[1]]
    assert report(post(admin, text(*lines), plan="new", numbering="order"))["measures"]["new"] == ["3"]
    titles = {row["code"]: row["title"] for row in admin.get("/measures?plan=new").json()["results"]}
    assert titles == {"1": "学習支援", "2": "食堂", "3": "居場所"}


def test_a_repeated_row_is_no_second_row_without_a_word(admin: httpx.Client):
    same = [ROW[0], "学習支援（再掲）", "", "", "", "再掲"]
    done = report(post(admin, text(HEAD, ROW, same), **NEW))
    assert done["created"]["evaluation"] == 1
    assert [(warning["line"], warning["en"]) for warning in done["warnings"] if "line" in warning] == [
        (4, "This repeats measure 1-1 (再掲) and was not read again.")
    ]
    differs = [ROW[0], "学習支援【再掲】", "教育課", "10回", "B", ""]
    [error] = errors(post(admin, text(HEAD, ROW, differs), plan="new"))
    assert error["line"] == 4
    assert "on_repeat=skip" in error["detail"]
    assert report(post(admin, text(HEAD, ROW, differs), plan="new", on_repeat="skip"))["document"] is None
    kept = report(post(admin, text(HEAD, ROW, differs), plan="new", on_repeat="keep"))
    assert kept["created"]["evaluation"] == 1
    assert [row["ordinal"] for row in rows(admin)] == [1, 2]


def test_the_same_measure_on_two_sheets_is_asked_about(admin: httpx.Client):
    book = openpyxl.Workbook()
    for sheet in (book.active, book.create_sheet("写し")):
        for row in (HEAD, ROW):
            sheet.append(row)
    book.active.title = "原本"
    out = io.BytesIO()
    book.save(out)
    post(admin, text(HEAD, ROW), **NEW)
    [error] = errors(post(admin, out.getvalue(), "book.xlsx", plan="new"))
    assert (error["sheet"], error["line"]) == ("写し", 2)
    assert report(post(admin, out.getvalue(), "book.xlsx", plan="new", sheet="原本"))["sheets"] == ["原本"]
    both = report(post(admin, out.getvalue(), "book.xlsx", plan="new", sheet="原本,写し"))
    assert both["created"]["evaluation"] == 1
    assert "原本" in errors(post(admin, out.getvalue(), "book.xlsx", plan="new", sheet="なし"))[0]["detail"]


def test_the_mapping_of_sheets_for_several_years_can_be_sent_back(admin: httpx.Client):
    book = openpyxl.Workbook()
    for year, sheet in (("R4", book.active), ("R5", book.create_sheet())):
        sheet.title = year
        for row in ([TITLE], ["番号", "事業名", "実績", "評価"], ["1-1", "学習支援", year, "A"]):
            sheet.append(row)
    out = io.BytesIO()
    book.save(out)
    done = report(post(admin, out.getvalue(), "book.xlsx", **NEW))
    assert [(row["fiscal_year"], row["implementation"]) for row in rows(admin)] == [
        (2022, "R4"),
        (2023, "R5"),
    ]
    mapping = json.dumps(done["mapping"])
    again = report(post(admin, out.getvalue(), "book.xlsx", mapping=mapping, plan="new"))
    assert (again["mapping"], again["revision"]) == (done["mapping"], done["revision"])


# ---------------------------------------------------------------------------------------------------------
# The table as printed


def shown(answer: httpx.Response) -> list[dict[str, Any]]:
    told = answer.json()
    found: list[dict[str, Any]] = (told.get("report") or told)["table"]
    return found


def lines_of(answer: httpx.Response) -> list[int]:
    [sheet] = shown(answer)
    return [line["line"] for line in sheet["lines"]]


def measures(count: int) -> list[list[str]]:
    return [[f"1-{n}", f"施策{n}", "", "実施", "A", ""] for n in range(1, count + 1)]


def test_a_preview_shows_the_table_as_printed_and_what_each_line_was_taken_for(admin: httpx.Client):
    header = ["担当課", "番号", "事業名", "H29実績", "評価", "予算額"]
    table = [
        header,
        ["こども課", "1-1", "学習支援", "42回\u3000実施", "A", "100"],
        ["", "", "", "続き", "B", ""],
        ["", "1-1", "学習支援（再掲）", "", "", ""],
        ["小計", "", "", "", "2", ""],
        ["※ 注"],
    ]
    done = report(post(admin, text(*table), preview=200, dry_run=True, **NEW))
    columns = ["department", "path", "title", "implementation", "rating", "extra"]
    assert done["table"] == [
        {
            "sheet": None,
            "columns": [
                {
                    "column": place,
                    "header": header[place - 1],
                    "field": field,
                    "fiscal_year": 2017 if field in ("implementation", "rating") else None,
                }
                for place, field in enumerate(columns, 1)
            ],
            "lines": [
                {"line": 1, "kind": "title", "code": None, "cells": [TITLE]},
                {"line": 2, "kind": "header", "code": None, "cells": header},
                {"line": 3, "kind": "measure", "code": "1-1", "cells": table[1]},
                {"line": 4, "kind": "measure", "code": "1-1", "cells": ["", "", "", "続き", "B"]},
                {"line": 5, "kind": "repeat", "code": "1-1", "cells": ["", "1-1", "学習支援（再掲）"]},
                {"line": 6, "kind": "total", "code": None, "cells": ["小計", "", "", "", "2"]},
                {"line": 7, "kind": "note", "code": None, "cells": ["※ 注"]},
            ],
            "left_out": 0,
        }
    ]
    assert "table" not in report(post(admin, text(*table), dry_run=True, **NEW))
    kept = report(post(admin, text(*table), preview=1, **NEW))
    assert "table" not in admin.get(f"/documents/{kept['document']}").json()["report"]


def test_headings_and_legends_are_told_apart_from_measures(admin: httpx.Client):
    above = [["（平成29年度）"], ["【評価の区分】 ◎：達成 ○：おおむね達成"], HEAD, ["第1章 子育て"]]
    done = report(post(admin, text(*above, ["1", *ROW[1:4], "◎", ""]), preview=200, **NEW))
    kinds = [(line["kind"], line["code"]) for line in done["table"][0]["lines"]]
    told = ["title", "subtitle", "legend", "header", "heading"]
    assert kinds == [*((kind, None) for kind in told), ("measure", "1")]


def test_a_preview_is_the_header_the_first_lines_and_those_that_are_spoken_of(admin: httpx.Client):
    table = measures(100)
    table[50][0] = table[80][0] = table[90][0] = "x"
    table[70] = ["小計", "", "", "", "", ""]
    answer = post(admin, text(HEAD, *table), preview=2, **NEW)
    assert [error["line"] for error in errors(answer)] == [53, 83, 93]
    assert lines_of(answer) == [1, 2, 53, 83]
    assert shown(answer)[0]["left_out"] == 98
    assert lines_of(post(admin, text(HEAD, *table), preview=1, **NEW)) == [1, 2, 53]
    assert lines_of(post(admin, text(HEAD, *table), preview=4, **NEW)) == [1, 2, 3, 4, 53, 73, 83, 93]


def test_a_line_that_does_not_fit_what_is_on_record_is_shown_as_well(admin: httpx.Client):
    table = measures(60)
    post(admin, text(HEAD, *table), **NEW)
    table[40][1] = "別の名称"
    renamed = post(admin, text(HEAD, *table), preview=5, plan="new")
    assert [(error["line"], error["column"]) for error in errors(renamed)] == [(43, 2)]
    assert lines_of(renamed) == [1, 2, 3, 4, 5, 43]
    assert admin.patch("/plans/new", json={"ratings_closed": True}, headers={"If-Match": "*"}).is_success
    table[40][1], table[50][4] = "施策41", "Z"
    unknown = post(admin, text(HEAD, *table), preview=5, plan="new")
    assert [(error["line"], error["column"]) for error in errors(unknown)] == [(53, 5)]
    assert lines_of(unknown) == [1, 2, 3, 4, 5, 53]


def workbook(**sheets: list[list[str]]) -> bytes:
    made = openpyxl.Workbook()
    made.remove(made.active)
    for name, table in sheets.items():
        sheet = made.create_sheet(name)
        for row in table:
            sheet.append(row)
    out = io.BytesIO()
    made.save(out)
    return out.getvalue()


def test_each_sheet_that_was_read_is_shown_by_itself(admin: httpx.Client):
    second = ["番号", "事業名", "H29実績", "評価", "課題"]
    good = workbook(集計=[["評価", "件数"]], 一=[HEAD, ROW], 二=[second, ["2-1", "食堂", "3か所", "B", ""]])
    done = report(post(admin, good, "book.xlsx", preview=200, **NEW | {"plan": PLAN}))
    assert [(sheet["sheet"], len(sheet["columns"])) for sheet in done["table"]] == [("一", 6), ("二", 5)]
    renamed = workbook(一=[HEAD, ROW], 二=[second, ["2-1", "大食堂", "3か所", "B", ""]])
    [error] = errors(post(admin, renamed, "book.xlsx", preview=200, plan=PLAN))
    assert (error["sheet"], error["line"], error["column"]) == ("二", 2, 2)


def test_a_measure_without_a_number_is_shown_under_the_code_that_it_has_on_record(admin: httpx.Client):
    def codes(*titles: str, rating: str = "A") -> list[str | None]:
        table = [["事業名", "H29実績", "評価"], *([title, "実施", rating] for title in titles)]
        answer = post(admin, text(*table), numbering="order", preview=9, **NEW)
        return [line["code"] for line in shown(answer)[0]["lines"][2:]]

    assert codes("学習支援", "食堂") == ["1", "2"]
    assert codes("居場所", "食堂", "学習支援") == ["3", "2", "1"]
    assert codes("学習支援", "食堂", rating="a,b") == [None, None]  # refused before that is looked up


def test_where_no_header_was_found_all_is_shown_and_every_column_is_open(admin: httpx.Client):
    answer = post(
        admin, workbook(一=[["通し", "なにを"], ["1", "文化祭"]], 二=[["a"]]), "b.xlsx", preview=9, **NEW
    )
    assert errors(answer)
    first, second = shown(answer)
    open_ = [{"column": place, "header": "", "field": None, "fiscal_year": None} for place in (1, 2)]
    assert (first["columns"], [line["cells"][0] for line in first["lines"]]) == (open_, ["通し", "1"])
    assert (second["sheet"], second["left_out"]) == ("二", 0)


def test_our_own_table_is_shown_without_columns_to_correct(admin: httpx.Client):
    content = b"plan,code,label,title\nfujimi-yumetsunagu,1,,a\n"
    [sheet] = report(post(admin, content, "m.csv", preview=9, dry_run=True))["table"]
    assert (sheet["columns"], [line["kind"] for line in sheet["lines"]]) == ([], ["header", None])
    assert shown(post(admin, b'[{"plan": "new"}]', "m.json", preview=9)) == []


def test_a_preview_has_its_bounds(admin: httpx.Client):
    for wrong in ("201", "-1", "x", "1.0", ""):
        assert errors(post(admin, text(HEAD, ROW), preview=wrong, **NEW))[0]["parameter"] == "preview"
    table = [["番号", "事業名", "H29実績", "評価", *(f"列{n}" for n in range(300))]]
    table += [[*row[:2], "実" * 201, "A", *(["他" * 200] * 300)] for row in measures(210)]
    answer = post(admin, text(*table), preview=200, dry_run=True, **NEW)
    [sheet] = shown(answer)
    assert len(sheet["lines"][2]["cells"]) == len(sheet["columns"]) == 200
    assert sheet["lines"][2]["cells"][2] == "実" * 199 + "…"
    assert len(sheet["lines"]) + sheet["left_out"] == 212
    assert len(answer.text) < 1_200_000


# ---------------------------------------------------------------------------------------------------------
# Rows in our own words


def test_rows_make_what_they_name(admin: httpx.Client):
    lines = [
        {"plan": PLAN, "section": "1", "code": "1-4-1", "title": "新しい施策", "path": ["第1節", "4", "①"]},
        {"plan": PLAN, "measure_code": "1-4-1", "fiscal_year": "H30", "ordinal": 1, "rating": "C"},
    ]
    done = report(post(admin, json.dumps(lines).encode(), "rows.json"))
    assert done["created"] == {"plan": 0, "document": 1, "section": 0, "measure": 1, "evaluation": 1}
    [row] = rows(admin, PLAN, fiscal_year="H30")
    assert (row["key"], row["rating_printed"]) == (f"{PLAN}/1-4-1/2018/1", "C")


@pytest.mark.parametrize(
    ("what", "says"),
    [
        ("evaluations/summary.csv?group_by=section", "Import the list of these."),
        ("documents.csv", "Import the documents themselves."),
    ],
)
def test_a_file_that_cannot_come_back_says_what_can(what: str, says: str, admin: httpx.Client):
    [error] = errors(post(admin, admin.get(f"/{what}").content, "export.csv", plan=PLAN))
    assert says in error["detail"]


def test_only_the_sheets_that_are_asked_for_have_to_be_sound(admin: httpx.Client):
    book = openpyxl.Workbook()
    sheet = book.create_sheet("R6")
    for row in (["例示計画 令和6年度 進捗状況"], [*HEAD[:3], "実績", "評価"], ROW[:5]):
        sheet.append(row)
    book["Sheet"].append(["=1+1"])
    file = io.BytesIO()
    book.save(file)
    assert "never worked out" in str(errors(post(admin, file.getvalue(), "book.xlsx", **NEW)))
    assert report(post(admin, file.getvalue(), "book.xlsx", sheet="R6", **NEW))["created"]["evaluation"] == 1
    assert "R7" in str(errors(post(admin, file.getvalue(), "book.xlsx", sheet="R7", **NEW)))


def test_letters_of_two_widths_are_one_rating(admin: httpx.Client):
    legend = ["凡例　Ａ：達成　Ｂ：概ね達成　Ｃ：遅れ　－：未実施", *[""] * 5]
    marks = ("A", "Ｂ", "B", "－")
    lines = [[f"1-{n}", f"事業{n}", *ROW[2:4], mark, ""] for n, mark in enumerate(marks, 1)]
    table = text(HEAD, *lines, legend)
    assert not [each for each in report(post(admin, table, **NEW))["warnings"] if "scale" in each["en"]]
    scale = admin.get("/plans/new").json()["ratings"]
    assert [(each["code"], each["label"]) for each in scale] == [
        ("A", "達成"),
        ("Ｂ", "概ね達成"),
        ("C", "遅れ"),
    ]
    found = [(row["rating"], row["rating_printed"]) for row in rows(admin)]
    assert found == [("A", "A"), ("Ｂ", "Ｂ"), ("Ｂ", "B"), (None, "－")]
    wide = text(HEAD, [*lines[0][:4], "Ａ", ""], title="例示計画 令和元年度 進捗状況").replace(b"H29", b"R1")
    report(post(admin, wide, plan="new"))
    assert [(row["rating"], row["rating_printed"]) for row in rows(admin, fiscal_year="R1")] == [("A", "Ａ")]


def test_signs_that_look_alike_are_one_rating(admin: httpx.Client):
    marks = ("○", "◯", "〇", "×", "✕", "✖", "☓", "△")
    lines = [[f"1-{n}", f"事業{n}", *ROW[2:4], mark, ""] for n, mark in enumerate(marks, 1)]
    report(post(admin, text(["凡例　〇：達成　✕：未達成", *[""] * 5], HEAD, *lines), **NEW))

    def scale() -> list[tuple[str, str | None]]:
        return [(each["code"], each["label"]) for each in admin.get("/plans/new").json()["ratings"]]

    assert scale() == [("○", "達成"), ("×", "未達成"), ("△", None)]
    found = [(row["rating"], row["rating_printed"]) for row in rows(admin)]
    assert found == list(zip("○○○××××△", marks, strict=True))
    again = text(HEAD, [*lines[0][:4], "〇", ""], title="例示計画 令和元年度 進捗状況").replace(b"H29", b"R1")
    report(post(admin, again, plan="new"))
    assert [(row["rating"], row["rating_printed"]) for row in rows(admin, fiscal_year="R1")] == [("○", "〇")]
    assert len(scale()) == 3


def test_a_column_that_is_given_a_field_leaves_where_it_was(admin: httpx.Client):
    table = text([*HEAD[:3], "事業の様子", *HEAD[4:]], ROW, title="例示計画 平成29年度 進捗状況")
    report(post(admin, table, **NEW))
    assert rows(admin)[0]["extra"] == {"事業の様子": "42回"}
    report(post(admin, table, plan="new", mapping='{"事業の様子": "implementation"}'))
    assert (rows(admin)[0]["implementation"], rows(admin)[0]["extra"]) == ("42回", {})


def test_a_column_that_no_list_has_is_named_with_its_place(admin: httpx.Client):
    head = "plan,measure_code,fiscal_year,ordinal,ratng,メモ,ordinal"
    answer = post(admin, f"{head}\n{PLAN},1-1-1,2018,1,A,確認,1\n".encode(), "rows.csv")
    found = [(error["line"], error["column"], error["text"]) for error in errors(answer)]
    assert found == [(1, 5, "ratng"), (1, 6, "メモ"), (1, 7, "ordinal")]
    assert "Is it rating?" in errors(answer)[0]["detail"]
    assert "extra.メモ" in errors(answer)[1]["detail"]
    mended = head.replace("ratng,メモ,ordinal", "rating,extra.メモ")
    done = report(post(admin, f"{mended}\n{PLAN},1-1-1,2018,1,A,確認\n".encode(), "rows.csv"))
    assert done["created"]["evaluation"] == 1


@pytest.mark.parametrize(
    ("told", "wrong"),
    [
        ({"measure_code": "9-9-9"}, "There is no measure 9-9-9."),
        ({"fiscal_year": "30"}, "names no era"),
        ({"ordinal": 0}, "ordinal is a whole number from 1."),
        ({"rating": "a,b"}, "A rating holds no comma"),
        ({"implementation": "a\u0000"}, "The character U+0000 cannot be kept."),
        ({"department": "a" * 101}, "This has 101 characters."),
        ({"implementation": 5}, "implementation is a text: put it into quotation marks."),
        ({"extra": []}, 'extra is an object such as {"name of a column": "its text"}.'),
        ({"extra": {"a": 1}}, "extra.a is a text: put it into quotation marks."),
        ({"extra": {"": "x"}}, "A column of extra has no name."),
        ({"ordinal": None}, "ordinal is missing."),
    ],
)
def test_a_row_that_cannot_be_is_refused_with_its_line(told: Any, wrong: str, admin: httpx.Client):
    good = {"plan": PLAN, "measure_code": "1-1-1", "fiscal_year": 2018, "ordinal": 1}
    lines = "\n".join(json.dumps(row) for row in (good, {**good, "ordinal": 2, **told}))
    error = errors(post(admin, lines.encode(), "rows.jsonl"))[0]
    assert wrong in error["detail"]
    assert error["line"] in (2, None)
    assert rows(admin, PLAN, fiscal_year="H30") == []


@pytest.mark.parametrize(
    "row",
    [
        {"slug": "new", "title": "計画", "municipality_code": FUJIMI, "municipality": "富士見市"},
        {"entity": "section", "data": {"plan": PLAN, "code": "1"}},
        {"plan": PLAN, "section": "1", "code": "1-1-1", "title": "施策"},
        {"plan": PLAN, "measure_code": "1-1-1", "fiscal_year": 2018, "ordinal": 1},
    ],
)
def test_two_rows_of_one_key_are_refused_with_both_lines(row: dict[str, Any], admin: httpx.Client):
    [error] = errors(post(admin, "\n".join([json.dumps(row)] * 2).encode(), "rows.jsonl"))
    assert error["line"] == 2
    assert error["detail"] == "Line 1 has the same key. Remove one of them."


def test_two_rows_of_one_ordinal_are_refused_with_both_lines(admin: httpx.Client):
    table = [[*HEAD, "枝番"], [*ROW, "2"], [*ROW, "1"], [*ROW, "2"]]
    [error] = errors(post(admin, text(*table), **NEW))
    assert (error["line"], error["column"]) == (5, len(HEAD) + 1)
    assert "on line 3, too" in error["detail"]


@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b"[]", b"null", b'[{"a": 1}]', b"[" * 100_000])
def test_what_is_no_row_is_refused(content: bytes, admin: httpx.Client):
    assert errors(post(admin, content, "rows.json"))


def test_the_limits_of_texts_are_those_of_the_model():
    told = {
        **MeasureFields.model_json_schema()["properties"],
        **EvaluationFields.model_json_schema()["properties"],
    }
    for name, most in tables.LONGEST.items():
        choices = told[name].get("anyOf", [told[name]])
        lengths = {choice["maxLength"] for choice in choices if "maxLength" in choice}
        inner = told[name].get("items") or told[name].get("additionalProperties") or {}
        assert most in lengths | {inner.get("maxLength")}, name
    assert set(records.TOLD["evaluation"]) == set(EvaluationFields.model_fields)


# ---------------------------------------------------------------------------------------------------------
# Hostile files


def book(*, sheet: bytes | None = None, extra: dict[str, bytes] | None = None) -> bytes:
    """A good workbook, with another sheet or further entries."""
    made = openpyxl.Workbook()
    for row in (HEAD, ROW):
        made.active.append(row)
    out = io.BytesIO()
    made.save(out)
    changed = io.BytesIO()
    with zipfile.ZipFile(out) as old, zipfile.ZipFile(changed, "w", zipfile.ZIP_DEFLATED) as new:
        for name in old.namelist():
            is_sheet = name == "xl/worksheets/sheet1.xml" and sheet is not None
            new.writestr(name, sheet if is_sheet and sheet is not None else old.read(name))
        for name, content in (extra or {}).items():
            new.writestr(name, content)
    return changed.getvalue()


def archive(**entries: bytes) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as made:
        for name, content in entries.items():
            made.writestr(name, content)
    return out.getvalue()


def cells(*parts: str, doctype: str = "") -> bytes:
    return (
        f'<?xml version="1.0"?>{doctype}<worksheet xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main">'
        f"<sheetData>{''.join(parts)}</sheetData></worksheet>"
    ).encode()


def cell(place: str, value: str) -> str:
    return f'<row r="{place.lstrip("ABCDEFGHIJKLMNOPQRSTUVWXYZ")}"><c r="{place}" t="str"><v>{value}</v></c></row>'


LAUGHS = (
    "<!DOCTYPE l ["
    + "<!ENTITY a 'lol'>"
    + "".join(f"<!ENTITY {chr(98 + n)} '{f'&{chr(97 + n)};' * 10}'>" for n in range(9))
    + "]>"
)
random.seed(29)
NOISE = random.randbytes(10_000_000)
OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
HOSTILE = {
    "an image.xlsx": b"\x89PNG\r\n\x1a\n" + NOISE[:5_000],
    "an image.csv": b"\x89PNG\r\n\x1a\n" + NOISE[:5_000],
    "a workbook.csv": book(),
    "a text.xlsx": "番号\t事業名".encode(),
    "nothing.xlsx": b"",
    "half.xlsx": book()[:2_000],
    "an archive.xlsx": archive(a=b"b"),
    "noise.xlsx": NOISE,
    "noise.xls": OLE + NOISE[:100_000],
    "noise.ods": b"PK\x03\x04" + NOISE,
    "noise.csv": NOISE,
    "noise.jsonl": NOISE,
    "letters.csv": (b"abc,def\n" * 3 + b"x" * 1000 + b"\n") * 9_000,
    "letters.tsv": b"a\tb\n" * 140_000,
    "commas.csv": b"," * 3_900_000,
    "quotes.csv": b'"' * 9_999_999,
    "quotes.tsv": b'"\t' * 1_900_000,
    "locked.xlsx": OLE + bytes(600) + "EncryptedPackage".encode("utf-16-le") + NOISE[:9_000],
    "bomb.xlsx": book(extra={"xl/media/a.bin": bytes(300_000_000)}),
    "many.xlsx": book(extra={f"a/{n}": b"" for n in range(2_000)}),
    "far away.xlsx": book(sheet=cells(cell("A1", "番号"), cell("XFD1048576", "x"))),
    "wide.xlsx": book(sheet=cells(cell("A1", "番号"), cell("AMK90000", "x"))),
    "laughs.xlsx": book(sheet=cells(cell("A1", "&j;"), doctype=LAUGHS)),
    "outside.xlsx": book(
        sheet=cells(cell("A1", "&x;"), doctype='<!DOCTYPE l [<!ENTITY x SYSTEM "file:///etc/passwd">]>')
    ),
    "broken.xlsx": book(sheet=b"<worksheet><sheetData><row><c>"),
}


def _lying() -> bytes:
    """An archive whose directory says that a large entry is small."""
    content = bytearray(book(extra={"xl/media/a.bin": bytes(200_000_000)}))
    real = struct.pack("<I", 200_000_000)
    while (place := content.find(real)) >= 0:
        content[place : place + 4] = struct.pack("<I", 10)
    return bytes(content)


@pytest.fixture(scope="module")
def door(sqlite: Backend) -> Iterator[Service]:
    """A service whose database does not matter: what is refused here never comes to it."""
    with lent(sqlite) as service:
        yield service


def memory() -> int:
    """What this process holds, in bytes: the service runs in it."""
    status = Path("/proc/self/status").read_text()
    return 1_024 * int(status.partition("VmRSS:")[2].split()[0])


@pytest.mark.parametrize("name", [*HOSTILE, "lying.xlsx"])
def test_a_hostile_file_is_refused_at_no_cost(name: str, door: Service):
    content = HOSTILE.get(name) or (_lying() if name == "lying.xlsx" else b"")
    with door.holder(door.key("admin")) as client:
        before, revision = memory(), door.state().seq
        used = time.process_time()
        answer = post(client, content, name, **NEW)
        used = time.process_time() - used
        grown = memory() - before
        assert 400 <= answer.status_code < 500, answer.text
        assert errors(answer)[0]["detail"]
        assert len(answer.content) < 50_000
        assert b"root:" not in answer.content
        assert door.state().seq == revision
    assert used < 1.5  # of the service and this test; the child's time is its own
    assert grown < 60_000_000


def test_of_a_hundred_thousand_lines_only_what_is_shown_is_kept(hall: Service):
    """A header that nobody knows: it is recognised nowhere, and looked for near the top only."""
    content = "番\tこと\n".encode() + b"".join(b"%d\t%s\n" % (n, b"x" * 90) for n in range(100_000))
    with hall.holder(hall.key("admin")) as client:
        before, used = memory(), time.process_time()
        answer = post(client, content, "long.tsv", preview=200, **NEW)
        used, grown = time.process_time() - used, memory() - before
    [sheet] = shown(answer)
    assert (len(sheet["lines"]), sheet["left_out"]) == (200, 99_801)
    assert len(answer.content) < 50_000
    assert used < 1.5
    assert grown < 60_000_000


def test_formulas_are_read_as_their_values(admin: httpx.Client):
    formula = '<c r="{}{}" t="str"><f>HYPERLINK("x")</f><v>{}</v></c>'
    lines = []
    for line, row in enumerate((HEAD, ROW), 1):
        values = "".join(formula.format("ABCDEF"[place], line, value) for place, value in enumerate(row))
        lines.append(f'<row r="{line}">{values}</row>')
    sheet = cells(*lines)
    post(admin, text(HEAD, ROW), **NEW)
    done = report(post(admin, book(sheet=sheet), "formulas.xlsx", plan="new"))
    assert done["unchanged"]["evaluation"] == 1


@pytest.mark.parametrize("value", ["", "<v/>", "<v></v>"])
@pytest.mark.parametrize("formula", ["<f>1+1</f>", '<f t="shared" si="0"/>', "<x:f>1+1</x:f>"])
def test_a_formula_that_was_never_worked_out_is_no_empty_cell(formula: str, value: str, admin: httpx.Client):
    sheet = cells(cell("A1", "計画"), f'<row r="2"><c r="B2" s="0">{formula}{value}</c></row>')
    if "x:" in formula:
        sheet = sheet.replace(
            b"xmlns=", b'xmlns:x="http://schemas.openxmlformats.org/spreadsheetml/2006/main" xmlns='
        )
    [error] = errors(post(admin, book(sheet=sheet), "formulas.xlsx", **NEW))
    assert error["line"] == 2
    assert error["detail"].startswith(
        "1 formulas of sheet Sheet were never worked out, the first in row 2, column 2."
    )
    assert "Open the file once in a spreadsheet program and save it." in error["detail"]


def ods(*lines: str) -> bytes:
    """A sheet 一, of lines of cells."""
    spaces = " ".join(
        f'xmlns:{name}="urn:oasis:names:tc:opendocument:xmlns:{name}:1.0"'
        for name in ("office", "table", "text")
    )
    content = (
        f'<office:document-content {spaces} xmlns:calcext="urn:org:documentfoundation:names:experimental:calc:xmlns:'
        'calcext:1.0"><office:body><office:spreadsheet><table:table table:name="一">'
        f"{''.join(lines)}</table:table></office:spreadsheet></office:body></office:document-content>"
    )
    kind = b"application/vnd.oasis.opendocument.spreadsheet"
    return archive(
        **{"mimetype": kind, "content.xml": content.encode(), "META-INF/manifest.xml": b"<manifest/>"}
    )


def ods_line(*values: str, repeated: int = 1) -> str:
    """Texts, or cells as they are marked up."""
    made = [
        value
        if value.startswith("<")
        else f'<table:table-cell office:value-type="string"><text:p>{value}</text:p></table:table-cell>'
        for value in values
    ]
    return f'<table:table-row table:number-rows-repeated="{repeated}">{"".join(made)}</table:table-row>'


ODS_ERROR = (
    '<table:table-cell table:formula="of:=IF(1>0;1/0)" office:value-type="string" office:string-value="" '
    'calcext:value-type="error"><text:p>#DIV/0!</text:p></table:table-cell>'
)
ODS_SHARE = (
    '<table:table-cell table:number-columns-repeated="2" office:value-type="percentage" office:value="0.925">'
    "<text:p>93%</text:p></table:table-cell>"
)
COVERED = "<table:covered-table-cell/>"


def spanning(text: str, *, rows: int = 1, columns: int = 1) -> str:
    return (
        f'<table:table-cell table:number-columns-spanned="{columns}" table:number-rows-spanned="{rows}" '
        f'office:value-type="string"><text:p>{text}</text:p></table:table-cell>'
    )


def test_what_is_merged_in_ods_stands_in_each_of_its_rows_and_columns(admin: httpx.Client):
    content = ods(
        ods_line(TITLE),
        ods_line("番号", "事業名", spanning("H29", columns=2), COVERED, spanning("H30", columns=2), COVERED),
        ods_line("", "", "実績", "評価", "実績", "評価"),
        ods_line(spanning("1", rows=3), "学習", "a", spanning("A", rows=3), "b", spanning("B", rows=2)),
        ods_line(COVERED, "学習", "c", COVERED, "d", COVERED),
        ods_line(COVERED, "学習", "e", COVERED, "f", "C"),
    )
    report(post(admin, content, "merged.ods", **NEW))
    assert [(row["implementation"], row["rating"]) for row in rows(admin, sort="fiscal_year,ordinal")] == [
        *[("a", "A"), ("c", "A"), ("e", "A")],
        *[("b", "B"), ("d", "B"), ("f", "C")],
    ]


def test_percentages_are_read_as_they_are_shown(admin: httpx.Client):
    made = openpyxl.Workbook()
    for line in ([TITLE], [*HEAD, "率", "割合"], [*ROW, 0.925, 2 / 3], ["1-2", *ROW[1:], 0.925, 75]):
        made.active.append(line)
    shapes = [
        ("0%", "0.00%"),
        ("0.0 %;[Red]-0%", '0"%"'),
    ]  # the last prints a sign and counts nothing in hundreds
    for line, its in enumerate(shapes, 3):
        for column, shape in enumerate(its, 7):
            made.active.cell(line, column).number_format = shape
    out = io.BytesIO()
    made.save(out)
    report(post(admin, out.getvalue(), "shares.xlsx", **NEW))
    assert [row["extra"] for row in rows(admin)] == [
        {"率": "93%", "割合": "66.67%"},
        {"率": "92.5%", "割合": "75%"},
    ]
    line = ods_line("1-3", *ROW[1:], ODS_SHARE, repeated=2)
    report(post(admin, ods(ods_line(TITLE), ods_line(*HEAD, "率", "割合"), line), "shares.ods", **NEW))
    extras = [row["extra"] for row in rows(admin) if row["measure_code"] == "1-3"]
    assert extras == [{"率": "93%", "割合": "93%"}] * 2


@pytest.mark.parametrize("form", ["xlsx", "ods", "csv"])
def test_an_error_of_a_formula_is_told_with_its_place(form: str, admin: httpx.Client):
    total = ["", "合計", "", "#DIV/0!", "", ""]
    told = [HEAD, [*ROW[:3], "#DIV/0!", *ROW[4:]], total]
    if form == "xlsx":
        content = book(sheet=cells(*(_line(n, row) for n, row in enumerate(told, 1))))
    elif form == "ods":
        content = ods(
            *(ods_line(*(ODS_ERROR if each == "#DIV/0!" else each for each in row)) for row in told)
        )
    else:
        content = "\n".join(",".join(row) for row in told).encode()
    [error] = errors(post(admin, content, f"errors.{form}", preview=9, **NEW))
    assert (error["line"], error["column"], error["text"]) == (2, 4, "#DIV/0!")
    assert error["detail"].startswith("This is the error of a formula.")


def _line(number: int, values: list[str]) -> str:
    made = [
        f'<c r="{"ABCDEF"[place]}{number}" t="{"e" if value == "#DIV/0!" else "str"}"><v>{value}</v></c>'
        for place, value in enumerate(values)
    ]
    return f'<row r="{number}">{"".join(made)}</row>'


def test_the_seed_may_come_in_any_encoding(admin: httpx.Client):
    seed = SEED.read_text("utf-8")
    for encoding in ("utf-8-sig", "utf-16", "cp932"):
        done = report(post(admin, seed.encode(encoding), "seed.txt", plan=PLAN))
        assert (done["document"], done["revision"]) == (None, 56)
    told = report(post(admin, seed.encode("cp932"), "seed.txt", plan=PLAN, encoding="shift_jis"))
    assert told["unchanged"]["evaluation"] == 26
    assert errors(post(admin, seed.encode(), "seed.txt", plan=PLAN, encoding="klingon"))


# ---------------------------------------------------------------------------------------------------------
# What contradicts itself, or what is on record, is asked about


def listed(client: httpx.Client, **query: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = client.get("/measures", params=query).json()["results"]
    return found


def test_measures_without_numbers_are_told_apart_by_their_sections_too(admin: httpx.Client):
    head = ["基本目標", "事業名", "R5実績", "評価"]
    table = [["子育て", "研修", "x", "A"], ["教育", "研修", "y", "B"], ["教育", "講座", "z", "B"]]
    report(post(admin, text(head, *table), numbering="order", **NEW))
    before = rows(admin)
    again = report(post(admin, text(head, *table), numbering="order", plan="new"))
    assert (again["updated"], rows(admin)) == (dict.fromkeys(again["updated"], 0), before)
    later = text(["基本目標", "事業名", "R6実績", "評価"], *table, ["福祉", "研修", "w", "A"])
    done = report(post(admin, later, numbering="order", plan="new"))
    assert (done["measures"]["new"], done["created"]["evaluation"]) == (["4"], 4)
    texts = {row["measure_code"]: row["implementation"] for row in rows(admin, fiscal_year="R6")}
    assert texts == {"1": "x", "2": "y", "3": "z", "4": "w"}


def test_a_title_that_is_left_once_on_both_sides_moved_to_another_section(admin: httpx.Client):
    head = ["基本目標", "事業名", "R5実績", "評価"]
    report(post(admin, text(head, ["子育て", "研修", "x", "A"]), numbering="order", **NEW))
    moved = text(head, ["福祉", "相談", "v", "A"], ["子育て", "案内", "w", "A"], ["福祉", "研修", "x", "A"])
    assert report(post(admin, moved, numbering="order", plan="new"))["measures"]["new"] == ["2", "3"]
    assert {row["code"]: row["title"] for row in listed(admin, plan="new")}["1"] == "研修"


def test_a_new_number_for_a_title_on_record_is_asked_about(admin: httpx.Client):
    head = ["大項目", "番号", "施策名", "R5実績", "評価"]
    whole = [
        ["1 子育て", "1", "甲", "x", "A"],
        ["1 子育て", "2", "乙", "x", "A"],
        ["2 教育", "1", "丙", "x", "A"],
    ]
    report(post(admin, text(head, *whole), **NEW))
    part = text(head, ["1 子育て", "1", "甲", "x", "B"], ["1 子育て", "2", "乙", "x", "A"])
    first, second = errors(post(admin, part, plan="new"))
    assert (first["line"], first["text"], second["line"]) == (3, "1", 4)
    assert first["detail"] == (
        "Measure 1, 甲, has the title of measure 1-1, which is on record. If it is the same, give it that number "
        "in the table; if it is another one, tell on_renumber=new."
    )
    told = text(head, ["1 子育て", "1-1", "甲", "x", "B"], ["1 子育て", "1-2", "乙", "x", "A"])
    assert report(post(admin, told, plan="new"))["updated"]["evaluation"] == 1
    assert report(post(admin, part, plan="new", on_renumber="new"))["measures"]["new"] == ["1", "2"]


def test_titles_that_changed_places_are_no_renaming(admin: httpx.Client):
    report(post(admin, text(HEAD, ["1", "甲", "", "x", "A", ""], ["2", "乙", "", "y", "A", ""]), **NEW))
    swapped = text(HEAD, ["2", "甲", "", "x", "A", ""], ["1", "乙", "", "y", "A", ""])
    for error, (code, title, other) in zip(
        errors(post(admin, swapped, plan="new")), (("2", "甲", "1"), ("1", "乙", "2")), strict=True
    ):
        assert error["text"] == title
        assert f"Measure {code} was called" in error["detail"]
        assert error["detail"].endswith(
            f"That is the title of measure {other}, which is on record. Check the number."
        )


KEYED = {"plan": PLAN, "measure_code": "1-1-1", "fiscal_year": 2017, "ordinal": 1}
KEY = f"{PLAN}/1-1-1/2017/1"


@pytest.mark.parametrize(
    ("told", "wrong"),
    [
        (
            {"key": KEY, "measure_code": "2026-01-01"},
            f"The key says {KEY}, and measure_code says 2026-01-01.",
        ),
        ({"key": KEY, "fiscal_year": 2018}, f"The key says {KEY}, and fiscal_year says 2018."),
        ({"key": KEY, "ordinal": 2}, f"The key says {KEY}, and ordinal says 2."),
        ({"key": "another/1-1-1/2017/1"}, f"The key says another/1-1-1/2017/1, and plan says {PLAN}."),
        ({"fiscal_year_label": "平成30年度"}, "fiscal_year is 2017, and fiscal_year_label is 平成30年度."),
        ({"rateing": "B"}, "No list has a field rateing. Is it rating?"),
        ({"備考": "大事"}, "No list has a field 備考. Remove it, or keep it within extra."),
        ({"rating": "C", "rating_printed": "A"}, "The rating is printed as A, and its code is C."),
        ({"rating": None, "rating_printed": "A"}, "The rating is printed as A, and its code is blank."),
    ],
)
def test_a_row_that_contradicts_itself_is_asked_about(told: dict[str, Any], wrong: str, admin: httpx.Client):
    before = rows(admin, PLAN)
    [error] = errors(post(admin, json.dumps([{**KEYED, **told}]).encode(), "rows.json"))
    assert (error["line"], error["detail"].startswith(wrong)) == (1, True), error
    assert rows(admin, PLAN) == before


def test_one_rating_corrected_in_an_export_is_asked_about_until_it_is_said_whole(admin: httpx.Client):
    table = admin.get("/evaluations.csv", params={"plan": PLAN, "fields": "key,rating,rating_printed"}).text
    old, new = "2017/1,A,A", "2017/1,B,A"
    assert old in table
    [error] = errors(post(admin, table.replace(old, new, 1).encode(), "e.csv"))
    assert "(rating_printed) empty" in error["detail"]
    done = report(post(admin, table.replace(old, "2017/1,B,", 1).encode(), "e.csv"))
    assert (done["updated"]["evaluation"], done["unchanged"]["evaluation"]) == (1, 25)


def test_what_is_printed_otherwise_than_its_code_on_record_stays(admin: httpx.Client):
    [row] = rows(admin, PLAN, measure="1-1-1")
    odd = {"rating": "B", "rating_printed": "A"}
    assert admin.patch(f"/evaluations/{row['id']}", json=odd, headers=ANY).is_success
    table = admin.get("/evaluations.csv", params={"plan": PLAN}).content
    assert report(post(admin, table, "e.csv"))["updated"]["evaluation"] == 0


@pytest.mark.parametrize(
    "line", [f"{PLAN},1-1-1,2017,1,甲をした,乙もした,A", f"{PLAN},1-1-1,2017,1,甲,A,,備考"]
)
def test_no_cell_beyond_the_header_of_our_own_tables_is_dropped(line: str, admin: httpx.Client):
    table = f"plan,measure_code,fiscal_year,ordinal,implementation,rating\n{line}\n"
    [error] = errors(post(admin, table.encode(), "e.csv"))
    assert (error["line"], "beyond its header" in error["detail"]) == (2, True)


def test_rows_in_our_own_words_may_leave_out_the_plan_that_is_told(admin: httpx.Client):
    row = {name: cell for name, cell in KEYED.items() if name != "plan"}
    told = [{**row, "implementation": "新しい実績"}]
    done = report(post(admin, json.dumps(told).encode(), "rows.json", plan=PLAN))
    assert done["updated"]["evaluation"] == 1
    table = "measure_code,fiscal_year,ordinal,implementation\n 1-1-1, 2017, 1,もう一度\n   ,,,\n"
    assert report(post(admin, table.encode(), "rows.csv", plan=PLAN))["updated"]["evaluation"] == 1
    assert rows(admin, PLAN, measure="1-1-1")[0]["implementation"] == "もう一度"


@pytest.mark.parametrize(
    ("told", "wrong"),
    [
        (
            {"entity": "evaluation", "key": KEY, "op": "delete", "data": None},
            "What was removed cannot be imported",
        ),
        ({"plan": PLAN, "code": "1-1-1", "title": "題"}, "This may be a section or a measure."),
        ({"rating": "A", "count": 3, "share": 0.5}, "A summary is counted from evaluations."),
        (
            {"plan": PLAN, "code": "1-1-1", "section": "1", "evaluations": []},
            "Evaluations inside a measure cannot be imported.",
        ),
    ],
)
def test_what_is_no_row_is_told_why(told: dict[str, Any], wrong: str, admin: httpx.Client):
    before = rows(admin, PLAN), listed(admin), admin.get("/sections").json()
    [error] = errors(post(admin, json.dumps([told]).encode(), "rows.json"))
    assert wrong in error["detail"]
    assert (rows(admin, PLAN), listed(admin), admin.get("/sections").json()) == before


PLAN_ROW = {"slug": PLAN, "title": "計画", "municipality_code": FUJIMI, "municipality": "富士見市"}


@pytest.mark.parametrize(
    ("told", "status"),
    [
        ({"slug": "New Slug/あ"}, 422),
        ({"ratings": None}, 422),
        ({"ratings": [{"code": "A"}]}, 409),
        ({"ratings_closed": "はい"}, 422),
        ({"ratings_closed": None}, 422),
        ({"first_fiscal_year": "R9", "last_fiscal_year": "R3"}, 422),
        ({"first_fiscal_year": "H29", "ratings_closed": "TRUE"}, 200),
    ],
)
def test_a_row_of_a_plan_is_checked_as_the_plan_is(told: dict[str, Any], status: int, admin: httpx.Client):
    answer = post(admin, json.dumps([{**PLAN_ROW, **told}]).encode(), "plan.json")
    assert answer.status_code == status, answer.text
    if status == 200:
        plan = admin.get(f"/plans/{PLAN}").json()
        assert (plan["first_fiscal_year"], plan["ratings_closed"]) == (2017, True)


def test_all_that_is_wrong_with_measures_and_sections_is_told_at_once(admin: httpx.Client):
    told = [{"plan": PLAN, "code": f"9 {n}", "section": "1", "title": "題"} for n in range(3)]
    assert [error["line"] for error in errors(post(admin, json.dumps(told).encode(), "m.json"))] == [1, 2, 3]
    told = [{**KEYED, "measure_code": f"9-{n}"} for n in range(3)]
    assert [error["line"] for error in errors(post(admin, json.dumps(told).encode(), "e.json"))] == [1, 2, 3]


def test_a_title_in_a_list_of_evaluations_renames_nothing_and_says_so(admin: httpx.Client):
    told = [{**KEYED, "measure_title": "改めた名称", "section": "1", "implementation": "x"}]
    done = report(post(admin, json.dumps(told).encode(), "e.json"))
    assert [warning["line"] for warning in done["warnings"] if "keeps its title" in warning["en"]] == [1]
    assert listed(admin, measure="1-1-1")[0]["title"] != "改めた名称"


def test_a_mapping_names_each_column_once(admin: httpx.Client):
    answer = post(admin, text(HEAD, ROW), mapping='{"5": "extra", "5": "rating"}', **NEW)
    assert "The mapping has 5 twice" in errors(answer)[0]["detail"]


def test_a_long_cell_of_footnotes_costs_no_time(admin: httpx.Client):
    start = time.monotonic()
    post(admin, text(HEAD, [*ROW[:4], "A" + "※ " * 4000 + "x", ""]), **NEW)
    assert time.monotonic() - start < 5


def test_a_mapping_that_lists_the_headers_of_another_table_is_asked_about(admin: httpx.Client):
    made = report(post(admin, text(HEAD, ROW), **NEW))["mapping"]
    same = post(admin, text(HEAD, ROW), mapping=json.dumps(made), plan="new")
    assert report(same)["unchanged"]["evaluation"] == 1
    order = [0, 1, 2, 4, 5, 3]
    other = text([HEAD[n].replace("H29", "") for n in order], [ROW[n] for n in order])
    found = errors(post(admin, other, mapping=json.dumps(made), plan="new"))
    assert [(error["line"], error["column"]) for error in found] == [(2, 4), (2, 5), (2, 6)]
    assert found[0]["detail"].startswith(
        "In the mapping the header of column 4 is H29実績, and in this table it is 評価."
    )
    assert rows(admin)[0]["rating"] == "A"


@pytest.mark.parametrize("mapping", ['{"1": ' + "1" * 5_000 + "}", "[" * 5_000, '{"1": "title"'])
def test_a_mapping_that_is_no_json_is_refused(mapping: str, admin: httpx.Client):
    assert (
        "Write the mapping as JSON"
        in errors(post(admin, text(HEAD, ROW), mapping=mapping, **NEW))[0]["detail"]
    )


@pytest.mark.parametrize(
    ("name", "content", "line", "why"),
    [
        ("rows.json", '[\n{"a": 1,\n,}]', 3, "unexpected character, expected a string key, column 1"),
        ("rows.json", '{"a": NaN}', 1, "unexpected character, expected a JSON value, column 7"),
        ("rows.json", '{"a": 1e999}', 1, "number is infinity when parsed as double, column 7"),
        ("rows.jsonl", f'{json.dumps(KEYED)}\n{{"a"', 2, "unexpected end of data, column 5"),
    ],
)
def test_where_a_text_is_no_json_is_told(name: str, content: str, line: int, why: str, admin: httpx.Client):
    [error] = errors(post(admin, content.encode(), name))
    assert (error["line"], error["detail"]) == (line, f"This is not valid JSON ({why}).")


def test_all_lines_that_are_no_rows_are_told_at_once(admin: httpx.Client):
    lines = [KEYED, '{"a"', 7, {**KEYED, "fiscal_year": "H"}, {**KEYED, "ordinal": 2}, "]"]
    printed = [line if isinstance(line, str) else json.dumps(line) for line in lines]
    found = errors(post(admin, "\n".join(printed).encode(), "rows.jsonl"))
    assert [error["line"] for error in found] == [2, 3, 4, 6]
    assert (found[1]["text"], found[1]["detail"]) == ("7", "This is not a JSON object.")


def test_all_that_does_not_fit_what_is_on_record_is_told_at_once(admin: httpx.Client):
    """A new name, a number that moved, and a rating that a closed scale does not have."""
    second = ["1-2", "見守り", "こども課", "3回", "A", "会場"]
    third = ["1-3", "食の支援", "こども課", "4回", "A", "会場"]
    report(post(admin, text(HEAD, ROW, second, third), **NEW))
    assert admin.patch("/plans/new", json={"ratings_closed": True}, headers=ANY).is_success
    revision = admin.get("/plans/new").headers["shinchoku-revision"]
    table = text(
        HEAD, ["1-1", "学び", *ROW[2:]], ["1-4", *second[1:]], [*third[:4], "Z", "会場"], title="例示計画"
    )
    found = errors(post(admin, table, plan="new"))
    assert [(error["line"], error["text"]) for error in found] == [(3, "学び"), (4, "1-4"), (5, "Z")]
    assert admin.get("/plans/new").headers["shinchoku-revision"] == revision


def test_plans_that_are_not_there_are_told_with_what_no_scale_can_hold(admin: httpx.Client):
    report(post(admin, text(HEAD, ROW), **NEW))
    named = {"fiscal_year": 2017, "ordinal": 1, "measure_code": "1-1"}
    lines = [
        {"plan": "nowhere", **named},
        {"plan": "new", **named, "rating": "A "},
        {"plan": "new", **named, "ordinal": 2, "rating": " B"},
        {"plan": "elsewhere", **named},
        {"plan": "elsewhere", **named, "ordinal": 2},
    ]
    found = errors(post(admin, "\n".join(map(json.dumps, lines)).encode(), "rows.jsonl"))
    told = [(error["line"], error.get("text"), error.get("parameter")) for error in found]
    assert told == [
        (2, "A ", None),
        (3, " B", None),
        (1, None, "municipality_code"),
        (4, None, "municipality_code"),
    ]
    assert len(rows(admin)) == 1


@pytest.mark.parametrize("name", ["table.tsv", "rows.jsonl"])
def test_of_very_many_errors_the_first_are_told_and_how_many_more_there_are(admin: httpx.Client, name: str):
    table = text(HEAD, *([f"1-{n}", "", "こども課", "2回", "A", "会場"] for n in range(1, 1_201)))
    lines = "\n".join(["{}"] * 1_200).encode()
    found = errors(post(admin, table if name == "table.tsv" else lines, name, **NEW))
    assert [len(found), found[0]["line"], found[999]["line"]] in ([1_001, 3, 1_002], [1_001, 1, 1_000])
    assert found[-1]["detail"] == "There are 200 more problems. Correct those above and try again."


def test_of_very_many_things_that_do_not_fit_the_first_are_told(admin: httpx.Client):
    report(post(admin, text(HEAD, ROW), **NEW))
    named = {"plan": "new", "fiscal_year": 2017, "ordinal": 1}
    lines = [{**named, "measure_code": f"9-{n}"} for n in range(1, 1_201)]
    found = errors(post(admin, "\n".join(map(json.dumps, lines)).encode(), "rows.jsonl"))
    assert len(found) == 1_001
    assert found[-1]["detail"].startswith("These are 1,000, and there may be more.")


def test_contradictions_are_told_with_what_does_not_fit(admin: httpx.Client):
    report(post(admin, text(HEAD, ROW, ["1-2", "見守り", "こども課", "3回", "B", "会場"]), **NEW))
    [row, other] = rows(admin)
    measure = {"plan": "new", "code": "1-1", "section": row["section"], "title": "学び"}
    named = {"plan": "new", "fiscal_year": 2017, "ordinal": 1}
    wrong = {**named, "measure_code": "1-2", "rating": "A", "rating_printed": "B"}
    lacking = {**named, "measure_code": "9-9", "rating": "B", "rating_printed": "A"}
    good = {**named, "measure_code": "1-1", "rating": "B"}
    lines = "\n".join(json.dumps(each) for each in (measure, good, wrong, lacking))
    found = errors(post(admin, lines.encode(), "rows.jsonl"))
    assert [(error["line"], error["text"]) for error in found] == [
        (1, "学び"),
        (3, "B"),
        (4, "9-9"),
        (4, "A"),
    ]
    assert rows(admin) == [row, other]


def test_contradictions_are_told_at_once_however_many_rows_lie_between(admin: httpx.Client):
    report(post(admin, text(HEAD, ROW, ["1-2", "見守り", "こども課", "3回", "B", "会場"]), **NEW))
    [row, _] = rows(admin)
    named = {name: row[name] for name in ("plan", "measure_code", "fiscal_year")}
    wrong = {"rating": "B", "rating_printed": "A"}
    many = [{**named, "ordinal": n, **(wrong if n in (2, 2_500) else {})} for n in range(1, 2_600)]
    found = errors(post(admin, json.dumps(many).encode(), "rows.json"))
    assert [error["line"] for error in found] == [2, 2_500]
    assert len(rows(admin)) == 2


def test_a_rating_that_changes_takes_what_is_printed_with_it(admin: httpx.Client):
    """As it does with PATCH, unless something else is told or nothing changes."""
    report(post(admin, text(HEAD, [*ROW[:4], "A（概ね達成）", "会場"]), **NEW))
    [row] = rows(admin)
    assert (row["rating"], row["rating_printed"]) == ("A", "A（概ね達成）")
    named = {name: row[name] for name in ("plan", "measure_code", "fiscal_year", "ordinal")}
    for told, printed in (
        ({"rating": "A"}, "A（概ね達成）"),
        ({"rationale": "人"}, "A（概ね達成）"),
        ({"rating": "B"}, "B"),
        ({"rating": None}, None),
        ({"rating": "B", "rating_printed": "Ｂ"}, "Ｂ"),
        ({"rating_printed": "B（概ね）"}, "B（概ね）"),
    ):
        report(post(admin, json.dumps([{**named, **told}]).encode(), "rows.json"))
        assert rows(admin)[0]["rating_printed"] == printed
    assert admin.patch("/plans/new", json={"ratings": [{"code": "A"}, {"code": "B"}]}, headers=ANY).is_success
    [error] = errors(post(admin, json.dumps([{**named, "rating_printed": "A"}]).encode(), "rows.json"))
    assert error["detail"].startswith("The rating is printed as A, and its code is B.")


@pytest.mark.parametrize("name", ["rows.jsonl", "rows.json"])
@pytest.mark.parametrize("told", ["学習@支援", "@"])
def test_a_broken_byte_of_json_makes_no_other_letters(name: str, told: str, admin: httpx.Client):
    content = (
        json.dumps({**KEYED, "implementation": told}, ensure_ascii=False).encode().replace(b"@", b"\xa1")
    )
    [error] = errors(post(admin, content, name))
    assert (error["line"], error["detail"]) == (
        1,
        "A byte here is not text in utf-8. Save the file as UTF-8 or name its encoding.",
    )


def test_a_broken_byte_of_a_list_makes_no_other_letters(admin: httpx.Client):
    content = f"key,implementation\r\n{KEY},学習@支援\r\n".encode().replace(b"@", b"\xa1")
    assert errors(post(admin, content, "rows.csv"))[0]["line"] == 2
    assert report(post(admin, f"key,implementation\r\n{KEY},学習\r\n".encode("cp932"), "rows.csv"))


def test_what_is_told_in_vain_is_said(admin: httpx.Client):
    told = {"mapping": '{"1": "title"}', "fiscal_year": "R5"}
    done = report(post(admin, json.dumps([KEYED]).encode(), "rows.json", **told))
    assert done["warnings"][0]["en"] == "These rows name their fields: fiscal_year, mapping had no effect."


@pytest.mark.parametrize(
    "name", ["evaluations.csv", "evaluations.tsv", "evaluations.xlsx", "evaluations.jsonl"]
)
@pytest.mark.parametrize("said", ["'H29'-'H30'", "'a+b'+c", "'支援'=x", "''=1", "'", "='1'"])
def test_apostrophes_within_a_text_come_back(admin: httpx.Client, name: str, said: str):
    report(post(admin, text(HEAD, ROW), **NEW))
    [row] = rows(admin)
    body = {"implementation": said, "extra": {"備考": said}}
    assert admin.patch(f"/evaluations/{row['id']}", json=body, headers=ANY).is_success
    exported = admin.get(f"/{name}", params={"plan": "new"})
    told = report(post(admin, exported.content, name))
    assert (told["updated"]["evaluation"], told["unchanged"]["evaluation"]) == (0, 1)
    assert rows(admin)[0]["implementation"] == said


def test_apostrophes_within_the_cells_of_a_town_stay(admin: httpx.Client):
    report(post(admin, text(HEAD, [*ROW[:3], "'12'-'13'回", *ROW[4:]]), **NEW))
    assert rows(admin)[0]["implementation"] == "'12'-'13'回"


def test_a_field_of_other_rows_is_no_field_of_this_one(admin: httpx.Client):
    report(post(admin, text(HEAD, ROW), **NEW))
    named = {"plan": "new", "fiscal_year": 2017, "measure_code": "1-1", "ordinal": 1}
    lines = [
        {**named, "title": "学び", "position": None},
        {**named, "fiscal_year": 2018, "code": "1-1"},
        {"slug": "new", "title": "い計画", "department": 5},
        {"plan": "new", "code": "1-1", "section": "1", "rating": "B"},
    ]
    found = errors(post(admin, "\n".join(map(json.dumps, lines)).encode(), "rows.jsonl"))
    assert [(error["line"], error["detail"]) for error in found] == [
        (1, "A row of an evaluation has no field title. Is it measure_title? Remove it otherwise."),
        (2, "A row of an evaluation has no field code. Is it measure_code? Remove it otherwise."),
        (3, "A row of a plan has no field department. Remove it otherwise."),
        (4, "A row of a measure has no field rating. Remove it otherwise."),
    ]


def test_a_row_that_names_another_section_than_its_measure_has_is_told(admin: httpx.Client):
    report(post(admin, text(HEAD, ROW), **NEW))
    [row] = rows(admin)
    told = report(post(admin, json.dumps([{**row, "section": "9"}]).encode(), "rows.json"))
    assert ["stays in section" in warning["en"] for warning in told["warnings"]] == [True]
    assert told["updated"] == dict.fromkeys(told["updated"], 0)


@pytest.mark.parametrize("name", ["sections.csv", "sections.xlsx", "sections.jsonl"])
def test_the_largest_number_comes_back(admin: httpx.Client, name: str):
    report(post(admin, text(HEAD, ROW), **NEW))
    body = {"plan": "new", "code": "9", "position": 2**53 - 1}
    assert admin.post("/sections", json=body).is_success
    exported = admin.get(f"/{name}", params={"plan": "new"})
    assert report(post(admin, exported.content, name))["unchanged"]["section"] == 2


@pytest.mark.parametrize("form", ["csv", "tsv", "xlsx", "jsonl"])
def test_a_blank_text_of_extra_comes_back(admin: httpx.Client, form: str):
    report(post(admin, text(HEAD, ROW), **NEW))
    [row] = rows(admin)
    body = {"extra": {"備考": "", "予算": "5", "改行": "\n"}}
    assert admin.patch(f"/evaluations/{row['id']}", json=body, headers=ANY).json()["extra"] == body["extra"]
    exported = admin.get(f"/evaluations.{form}", params={"plan": "new"})
    told = report(post(admin, exported.content, f"rows.{form}"))
    assert (told["unchanged"]["evaluation"], rows(admin)[0]["extra"]) == (1, body["extra"])


def test_what_xml_cannot_write_is_refused(admin: httpx.Client):
    report(post(admin, text(HEAD, ROW), **NEW))
    [row] = rows(admin)
    for character in "\ufffe\uffff":
        answer = admin.patch(
            f"/evaluations/{row['id']}", json={"implementation": f"a{character}"}, headers=ANY
        )
        assert answer.json()["errors"][0]["pointer"] == "/implementation"
        table = text(HEAD, [*ROW[:3], f"a{character}", *ROW[4:]])
        [error] = errors(post(admin, table, plan="new"))
        assert (error["line"], error["column"]) == (3, 4)


def test_the_mapping_of_tables_that_differ_leaves_to_their_headers_what_it_cannot_tell(admin: httpx.Client):
    lines = [
        ["い計画", "", "", "", ""],
        ["令和4年度", "", "", "", ""],
        ["番号", "事業名", "実施内容", "評価", "次年度計画"],
        ["1", "祭り", "8回", "A", "10回"],
        ["令和5年度", "", "", "", ""],
        ["番号", "事業名", "実施内容", "評価", "課題"],
        ["1", "祭り", "9回", "B", "人手"],
    ]
    table = "\n".join(map("\t".join, lines)).encode()
    told = report(post(admin, table, **NEW))
    fields = {mapped["field"] for mapped in told["mapping"] if mapped["column"] == 5}
    assert fields == {"next_plan", "rationale"}
    again = report(post(admin, table, mapping=json.dumps(told["mapping"]), plan="new"))
    assert (again["unchanged"]["evaluation"], again["updated"]["evaluation"]) == (2, 0)
