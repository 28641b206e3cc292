"""The pages for people: the same answers as the API, in words, in both languages, and nothing that no source says."""

import re
from collections.abc import Iterator
from html.parser import HTMLParser
from typing import Any
from urllib.parse import quote, urljoin, urlsplit

import httpx
import orjson
import pytest
import sqlalchemy as sa

from app.cli import beside
from app.documents.importing import import_document
from app.documents.told import Told
from app.models import DOCUMENT
from app.pages.html import percent
from app.pages.views import MOST_OF_A_LINE
from tests.conftest import SEED, Backend, Service, running
from tests.invented import invent
from tests.test_hostile import ENCODINGS, TEXTS
from tests.test_http import listed
from tests.test_samples import SAMPLES, send

FUJIMI_PLAN = "/p/fujimi-yumetsunagu"
BROWSER = {"Accept": "text/html,application/xhtml+xml;q=0.9,*/*;q=0.8"}
ENGLISH = {"Accept-Language": "en"}


@pytest.fixture(scope="module")
def towns(backend: Backend) -> Iterator[httpx.Client]:
    """A service with the seed and with invented plans of other towns."""
    url = backend.seeded()
    with running(url) as service:
        with service.database.writing() as session:
            invent(session)
        yield service.anyone
    backend.drop(url)


class Page(HTMLParser):
    """A page as a reader takes it: its words, its links, its tables."""

    def __init__(self, answer: httpx.Response) -> None:
        super().__init__()
        assert answer.headers["content-type"] == "text/html; charset=utf-8", answer.text
        self.answer, self.links, self.words, self.tables = answer, list[str](), list[str](), list[Any]()
        self.marked: list[str] = []
        self._mark = self._cell = False
        self.feed(answer.text)
        self.text = re.sub(r"\s+", " ", " ".join(self.words))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        assert not {"style", *(name for name in given if name.startswith("on"))} & given.keys(), given
        assert tag != "style", "nothing inline"
        assert tag != "script" or given["src"].startswith("/import.js"), "one page has a script"
        if tag in ("a", "link"):
            self.links.append(given["href"] or "")
        elif tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("td", "th"):
            self.tables[-1][-1].append("")
            self._cell = True
        self._mark = tag == "mark"

    def handle_endtag(self, tag: str) -> None:
        self._mark = False
        if tag in ("td", "th"):
            self._cell = False

    def handle_data(self, data: str) -> None:
        self.words.append(data)
        if self._mark:
            self.marked.append(data)
        if self._cell:
            self.tables[-1][-1][-1] = f"{self.tables[-1][-1][-1]} {data}".strip()


def page(client: httpx.Client, path: str, status: int = 200, **headers: str) -> Page:
    answer = client.get(path, headers=BROWSER | headers)
    assert answer.status_code == status, answer.text
    return Page(answer)


def codes(page: Page) -> list[str]:
    """The measures that a page lists."""
    return [link.rpartition("/")[2] for link in page.links if re.fullmatch("/p/[^/]+/measures/[^/?]+", link)]


# ---------------------------------------------------------------------------------------------------------
# What each page says


def test_the_front_page_lists_plans_by_municipality(towns: httpx.Client):
    front = page(towns, "/")
    assert [link for link in front.links if re.fullmatch("/p/[^/?]+", link)] == [
        "/p/fujimi-yumetsunagu",
        "/p/mihon-kodomo",
        "/p/mihon-senryaku",
        "/p/mitori-kankyo",
    ]
    assert (
        "富士見市 112356 夢つなぐ富士見プロジェクト+(プラス)～富士見市子どもの貧困対策整備計画～ 施策 24"
        in front.text
    )
    found = page(towns, "/?q=みほん市　戦略")
    assert [link for link in found.links if re.fullmatch("/p/[^/?]+", link)] == ["/p/mihon-senryaku"]
    assert "該当する計画がありません" in page(towns, "/?q=ない").text


def test_a_plan_at_a_glance_has_the_numbers_of_the_summary(towns: httpx.Client):
    for address in (
        "fujimi-yumetsunagu?",
        "mihon-kodomo?fiscal_year=R2",
        "mihon-senryaku?",
        "mitori-kankyo?",
    ):
        for unit in ("evaluation", "measure"):
            plan = page(towns, f"/p/{address}&unit={unit}")
            [source] = {link for link in plan.links if link.startswith("/evaluations/summary")}
            told = towns.get(source).json()
            rows = plan.tables[0][1:]
            for row, tally in zip(rows, [*told["results"], told["total"]], strict=True):
                shares = [
                    f"{each['count']} {percent(each['count'], tally['rated'])}" for each in tally["ratings"]
                ]
                others = [str(tally[name]) for name in ("mixed", "unrated") if told["total"].get(name)]
                assert row[2:-1] == [*shares, *others]
                assert int(row[-1].split()[0]) == tally["total"]


def test_shares_are_of_what_is_rated_with_one_decimal(read: httpx.Client):
    assert page(read, FUJIMI_PLAN).tables[0][1:] == [
        ["第1節", "A 9 B 2", "9 81.8 %", "2 18.2 %", "11 行"],
        ["第2節", "A 1 B 1", "1 50.0 %", "1 50.0 %", "2 行"],
        ["第3節", "A 2 B 4", "2 33.3 %", "4 66.7 %", "6 行"],
        ["第4節", "A 5 B 2", "5 71.4 %", "2 28.6 %", "7 行"],
        ["全体", "A 17 B 9", "17 65.4 %", "9 34.6 %", "26 行"],
    ]
    assert page(read, FUJIMI_PLAN + "?unit=measure").tables[0][-1][2:] == ["15 62.5 %", "9 37.5 %", "24 施策"]


@pytest.mark.parametrize(
    ("count", "of", "shown"),
    [(1, 16, "6.3 %"), (1, 80, "1.3 %"), (1, 3, "33.3 %"), (0, 7, "0.0 %"), (7, 7, "100.0 %"), (0, 0, "–")],
)
def test_a_share_is_rounded_half_up(count: int, of: int, shown: str):
    assert percent(count, of) == shown


def test_a_section_that_is_like_the_whole_plan_does_not_stand_out(town: Service, admin: httpx.Client):
    parts: list[tuple[str, dict[str, Any]]] = [
        ("plans", {"slug": "even", "title": "計画", "municipality_code": "112011", "municipality": "川越市"}),
        ("sections", {"plan": "even", "code": "1"}),
        *(
            ("measures", {"plan": "even", "section": "1", "code": code, "title": "施策"})
            for code in ("1", "2")
        ),
        *(
            ("evaluations", {"plan": "even", "measure_code": code, "fiscal_year": 2017, "rating": rating})
            for code, rating in (("1", "A"), ("2", "B"))
        ),
    ]
    for noun, row in parts:
        assert admin.post(f"/{noun}", json=row).status_code == 201
    plan = page(town.anyone, "/p/even")
    assert "並びの最後の B が付いた施策 1" in plan.text
    assert "の割合が計画全体より低い節" not in plan.text


def test_a_mark_without_a_given_meaning_gets_none(towns: httpx.Client):
    silent, told = page(towns, FUJIMI_PLAN), page(towns, "/p/mihon-senryaku")
    assert silent.text.count("意味は資料に書かれていません") == 1
    assert "記号の意味と並び順は資料に書かれていません" in silent.text
    assert not re.search("達成|改善|後退|良|悪|✓|✔|✅|❌|🟢|🔴", silent.text)
    assert "◎ 目標を上回った" in told.text
    assert "順序は、計画の評価区分によります" in told.text
    # What some marks mean may be told where their order is not.
    assert "記号の意味と" not in told.text
    # 継続, 完了 and 見直し have no order that anybody could assume: nothing lags, nothing comes last.
    unordered = page(towns, "/p/mitori-kankyo")
    assert "目にとまるところ" not in unordered.text
    assert "目にとまるところ" in silent.text
    assert "記号が変わった 2" in page(towns, "/p/mitori-kankyo/compare").text


def test_a_plan_without_measures_is_not_taken_for_a_filter_that_finds_none(
    town: Service, admin: httpx.Client
):
    plan = {"slug": "bare", "title": "計画", "municipality_code": "112011", "municipality": "川越市"}
    assert admin.post("/plans", json=plan).status_code == 201
    assert "まだ施策が登録されていません" in page(town.anyone, "/p/bare/measures").text
    assert "条件を外して" in page(town.anyone, "/p/bare/measures?q=支援").text


def test_what_stands_out_is_told_with_its_numbers(read: httpx.Client):
    plan = page(read, FUJIMI_PLAN)
    assert (
        "A の割合が計画全体より低い節 第3節 6行のうち2行 (33.3 %) 第2節 2行のうち1行 (50.0 %) "
        "計画全体 26行のうち17行 (65.4 %)"
    ) in plan.text
    assert "並びの最後の B が付いた施策 9" in plan.text
    assert codes(plan) == ["1-2-4", "1-3-1", "2-2-1", "3-1-1", "3-1-2", "3-2-1", "3-3-1", "4-1-1"]
    assert f"{FUJIMI_PLAN}/measures?fiscal_year=2017&rating=B" in plan.links


FILTERS = [
    "",
    "section=3",
    "fiscal_year=H29&rating=B",
    "rating=A,none",
    "q=支援",
    "q=学習　支援&section=3",
    "q=ﾊﾛｰﾜｰｸ",
    "q=ない言葉",
    "fiscal_year=2018",
]


@pytest.mark.parametrize("filters", FILTERS)
def test_the_measures_of_a_view_are_those_of_the_api(filters: str, read: httpx.Client):
    view = page(read, f"{FUJIMI_PLAN}/measures?{filters}")
    [source] = {link for link in view.links if link.startswith("/measures?")}
    told = read.get(source).json()
    assert codes(view) == [measure["code"] for measure in told["results"]]
    assert f"24 施策のうち {told['metadata']['resultset']['count']} 施策" in view.text
    asked = read.get(f"/measures?plan=fujimi-yumetsunagu&{filters}").json()
    assert [measure["code"] for measure in asked["results"]] == codes(view)


def test_found_words_are_marked_whatever_their_width(read: httpx.Client):
    assert set(page(read, f"{FUJIMI_PLAN}/measures?q=支援").marked) == {"支援"}
    assert page(read, f"{FUJIMI_PLAN}/measures?q=ﾊﾛｰﾜｰｸ h29.7~").marked == []
    assert page(read, f"{FUJIMI_PLAN}/measures?q=ﾊﾛｰﾜｰｸ").marked == ["ハローワーク", "ハローワーク"]
    assert page(read, f"{FUJIMI_PLAN}/measures?q=ｈ29.7~H30.2 会場").marked[0] == "H29.7～H30.2"


def test_a_form_with_empty_fields_leads_to_a_short_address(read: httpx.Client):
    answer = read.get(f"{FUJIMI_PLAN}/measures?q=&section=3&fiscal_year=&rating=")
    assert (answer.status_code, answer.headers["location"]) == (303, f"{FUJIMI_PLAN}/measures?section=3")
    assert read.get("/?q=").headers["location"] == "/"


def test_what_other_sites_add_to_a_shared_link_is_dropped(read: httpx.Client):
    for added in ("fbclid=x", "utm_source=news&utm_medium=mail", "gclid=1", "msclkid=1", "mc_cid=1"):
        for path, asked in (
            (FUJIMI_PLAN, ""),
            (f"{FUJIMI_PLAN}/measures", "?section=3"),
            ("/guide", "?lang=en"),
        ):
            answer = read.get(f"{path}{asked}{'&' if asked else '?'}{added}")
            assert (answer.status_code, answer.headers["location"]) == (303, f"{path}{asked}")
    assert read.get(f"{FUJIMI_PLAN}?colour=red").status_code == 422  # what somebody meant is not passed over
    assert read.get("/plans?fbclid=x").status_code == 422


def test_a_measure_tells_its_years_one_under_the_other(towns: httpx.Client):
    """What is printed there is exactly what the API says, a promise under the year that it is for."""
    measure = page(towns, "/p/mihon-kodomo/measures/3-1")
    [source] = {link for link in measure.links if link.endswith("/timeline")}
    place = 0
    for year in towns.get(source).json()["results"]:
        texts = [year["fiscal_year_label"], *(promise["next_plan"] for promise in year["planned"])]
        for row in year["evaluations"]:
            texts += [row["rating_printed"], row["implementation"], row["rationale"], row["next_plan"]]
        for text in texts:
            place = measure.text.index(text, place)
    assert "2行のうち1行目" in measure.text
    assert "前の年度の記載がありません" in page(towns, "/p/mihon-kodomo/measures/1-5").text
    assert "まだ評価の行がありません" not in measure.text
    assert {"/p/mihon-kodomo/measures/2-4", "/p/mihon-kodomo/measures/3-2"} <= set(measure.links)


def test_each_row_leads_to_its_line_in_the_document(read: httpx.Client):
    measure = page(read, f"{FUJIMI_PLAN}/measures/4-2-1")
    lines = [link for link in measure.links if "/documents/" in link]
    assert lines == [f"{FUJIMI_PLAN}/documents/1?line={line}#L{line}" for line in (36, 37, 38)]
    source = page(read, lines[0])
    shown = {row[0]: row[1:] for row in source.tables[0]}
    row = read.get("/evaluations?measure=4-2-1&limit=1").json()["results"][0]
    assert row["implementation"] in shown["36"][0]
    assert shown["36"][1] == "4-2-1"
    assert '<tr id="L36" class="asked">' in source.answer.text
    assert "/documents/1/content" in source.links
    last = page(read, f"{FUJIMI_PLAN}/documents/1?line=99999")
    assert "38行のうち1–38行" in last.text


def test_a_spreadsheet_tells_what_was_read_from_which_line(town: Service, admin: httpx.Client):
    file = SAMPLES / "reiji.xlsx"
    assert send(admin, file).is_success
    row = admin.get("/evaluations?plan=reiji-kodomo&measure=1-2&fiscal_year=2018").json()["results"][0]
    measure = page(town.anyone, "/p/reiji-kodomo/measures/1-2")
    place = f"line={row['source_line']}#L{row['source_line']}"
    [address] = {link for link in measure.links if link.endswith(place)}
    source = page(town.anyone, address)
    assert source.answer.text.count(f'id="L{row["source_line"]}"') == 1
    shown = [line for line in source.tables[0] if line[0] == str(row["source_line"])]
    assert shown[-1][1:] == ["1-2 産後ケア", "平成30年度（2018）", row["rating_printed"]]
    assert f"/documents/{row['document_id']}/content" in source.links
    # The cells stand below, under their headers, as they are in the file.
    [cells] = re.findall('(?s)<td class="cells".*?</td>', source.answer.text)
    told = re.findall("<dt[^>]*>(.*?)</dt><dd[^>]*>(.*?)</dd>", cells.replace("\n", ""))
    plain = [tuple(re.sub("<[^>]*>", "", each) for each in pair) for pair in told]
    assert plain == [
        ("シート", "Sheet1"),
        ("基本目標", "基本目標１　安心して産み育てる"),
        ("番号", "②"),
        ("事業名", "産後ケア"),
        ("担当課", "健康課"),
        ("実施内容 平成29年度（2017）", "5組が利用した。"),
        ("評価 平成29年度（2017）", "B"),
        ("課題 平成29年度（2017）", "周知不足"),
        ("実施内容 平成30年度（2018）", "9組が利用した。"),
        ("評価 平成30年度（2018）", "A"),
        ("課題 平成30年度（2018）", "委託先の確保"),
        ("備考", "30年度から日帰り型を追加"),
    ]
    assert "sheets have a line" not in page(town.anyone, address, **ENGLISH).text
    assert 'class="cells"' not in page(town.anyone, address.partition("?")[0]).answer.text
    assert 'class="cells"' not in page(town.anyone, address.partition("?")[0] + "?line=1").answer.text


def test_where_several_sheets_have_a_line_none_is_guessed(town: Service, admin: httpx.Client):
    report = send(admin, SAMPLES / "zukai.xlsx").raise_for_status().json()
    rows = admin.get("/evaluations?plan=zukai-kankyo").json()["results"]
    address = f"/p/zukai-kankyo/documents/{report['document']}"
    assert sorted(row["source_line"] for row in rows) == [5, 5, 6, 6]
    source = page(town.anyone, f"{address}?line=6")
    assert "6行目のあるシートは2枚あります" in source.text
    assert "シート 第１節" in source.text
    assert "シート 第２節" in source.text


def test_a_spreadsheet_that_cannot_be_opened_any_more_is_for_downloading(town: Service, admin: httpx.Client):
    """It is tried once: the page says so from then on."""
    report = send(admin, SAMPLES / "reiji.xlsx").raise_for_status().json()
    with town.database.writing() as session:
        gone = sa.update(DOCUMENT).where(DOCUMENT.c.id == report["document"])
        session.execute(gone.values(content=b"PK", sha256="0" * 64))
    row = admin.get("/evaluations?plan=reiji-kodomo").json()["results"][0]
    address = f"/p/reiji-kodomo/documents/{report['document']}?line={row['source_line']}"
    for _ in range(2):
        assert "この行のセルは、ここでは表示できません" in page(town.anyone, address).text


def test_lines_are_counted_as_they_were_when_the_document_was_read(town: Service):
    """A line separator within a cell ends no line."""
    told = SEED.read_text("utf-8").replace("設置準備", "設置\u2028準備\u2029", 1)
    notes = Told.model_validate({**beside(SEED), "plan": "lines"})
    with town.database.writing() as session:
        import_document(session, told.encode("utf-8-sig"), "lines.txt", notes)
    row = town.anyone.get("/evaluations?plan=lines&measure=4-2-1&limit=1").json()["results"][0]
    address = f"/p/lines/documents/{row['document_id']}?line={row['source_line']}"
    source = page(town.anyone, address)
    [line] = re.findall(r'<tr id="L36" class="asked">.*?</tr>', source.answer.text)
    assert row["implementation"] in line


def test_the_form_says_what_is_asked_also_where_nothing_has_it(read: httpx.Client):
    shown = page(read, f"{FUJIMI_PLAN}/measures?section=9&department=福祉課&rating=Z&fiscal_year=1999")
    chosen = re.findall('<option value="([^"]*)" selected', shown.answer.text)
    assert chosen == ["9", "1999", "Z", "福祉課"]


def test_a_line_of_megabytes_is_shown_in_part(town: Service, admin: httpx.Client):
    """JSON may stand in a single line: the page stays one that a browser can show, and says what it leaves out."""
    row = {
        "plan": "fujimi-yumetsunagu",
        "measure_code": "1-1-1",
        "fiscal_year": 2030,
        "implementation": "あ" * 5_000,
    }
    rows = orjson.dumps([{**row, "ordinal": each} for each in range(1, 201)])
    told = {"name": "rows.json", "plan": "fujimi-yumetsunagu"}
    report = admin.post("/imports", params=told, content=rows).raise_for_status().json()
    address = f"{FUJIMI_PLAN}/documents/{report['document']}?line=1"
    source = page(town.anyone, address)
    left = len(rows.decode()) - MOST_OF_A_LINE
    assert f"（この行のあと {left:,} 字は、ファイルをダウンロードしてご覧ください）" in source.text
    assert len(source.answer.content) < 100_000
    assert f"download the file to see {left:,} more characters" in page(town.anyone, address, **ENGLISH).text


def test_a_year_without_rows_is_an_empty_table(read: httpx.Client):
    empty = page(read, f"{FUJIMI_PLAN}?fiscal_year=1999&unit=measure")
    assert empty.tables[0][1:] == [["全体", "", "0 –", "0 –", "0 施策"]]
    assert "この年度の行がない施策 24" in empty.text


def test_what_is_not_stated_is_told_by_measure(towns: httpx.Client):
    shown = page(towns, "/p/mihon-kodomo?fiscal_year=2020")
    missing = towns.get("/plans/mihon-kodomo/completeness?fiscal_year=2020").json()
    for words, name in (("評価のない行", "without_rating"), ("理由・課題等のない行", "without_rationale")):
        rows = missing[name]
        code = rows[0]["key"].split("/")[1]
        assert f"{words} {len(rows)} {code} {rows[0]['measure_title']}" in shown.text
    many = page(towns, f"{FUJIMI_PLAN}?fiscal_year=1999")
    assert (len(codes(many)), "ほかに 4" in many.text) == (20, True)


def test_two_years_side_by_side_are_the_transitions(towns: httpx.Client):
    for slug, titles in (
        ("mihon-kodomo", ("下の記号へ", "上の記号へ")),
        ("mihon-senryaku", ("後退", "改善")),
    ):
        view = page(towns, f"/p/{slug}/compare?from=R1&to=R2")
        [source] = {link for link in view.links if "/transitions" in link}
        assert source == f"/plans/{slug}/transitions?from=2019&to=2020"
        told = towns.get(source).json()
        _, *rows = view.tables[0]
        cells = [
            {"from": row[0], "to": to, "count": int(count)}
            for row in rows
            for to, count in zip([row[0] for row in rows], row[1:], strict=True)
        ]
        assert cells == told["matrix"]
        for title, name in zip(titles, ("worsened", "improved"), strict=True):
            assert (f"{title} {len(told[name])}" in view.text) is bool(told[name])
    newest = page(towns, "/p/mihon-kodomo/compare")
    # What moved can be opened: the promise of the first year beside the work of the second.
    moved = newest.answer.text.partition('<tr class="story">')[2].partition("</tr>")[0]
    [first, second] = towns.get(
        "/evaluations?plan=mihon-kodomo&measure=1-2&sort=-fiscal_year&limit=2"
    ).json()["results"][::-1]
    told = re.findall('<span lang="ja">(.*?)</span>', moved.partition("<dl>")[2])
    assert told == [first["next_plan"], second["implementation"], second["rationale"]]
    assert "令和3年度（2021）の次年度計画" in newest.text
    assert newest.answer.text.count('<tr class="story">') == 6  # of what stayed the same, none
    assert "/plans/mihon-kodomo/transitions?from=2021&to=2022" in newest.links
    assert "比べるには、異なる2つの年度が必要です" in page(towns, f"{FUJIMI_PLAN}/compare").text


def test_a_long_list_continues(town: Service, admin: httpx.Client):
    for number in range(60):
        new = {"plan": "fujimi-yumetsunagu", "section": "4", "code": f"4-9-{number}", "title": "施策"}
        assert admin.post("/measures", json=new).status_code == 201
    first = page(town.anyone, f"{FUJIMI_PLAN}/measures?section=4")
    [address] = [link for link in first.links if "cursor=" in link]
    second = page(town.anyone, address)
    assert len(codes(first)) == 50
    assert codes(second) == [f"4-9-{number}" for number in range(45, 60)]


def test_among_several_plans_none_is_chosen_for_an_import(towns: httpx.Client, read: httpx.Client):
    several, one = towns.get("/import").text, read.get("/import").text
    assert '<option value="" selected disabled>選んでください</option>' in several
    assert "選んでください" not in one


# ---------------------------------------------------------------------------------------------------------
# Languages, conditions, errors


PAGES = ["/", FUJIMI_PLAN, f"{FUJIMI_PLAN}/measures", f"{FUJIMI_PLAN}/measures/1-1-1", f"{FUJIMI_PLAN}/compare",
         f"{FUJIMI_PLAN}/documents/1"]  # fmt: skip


@pytest.mark.parametrize("path", PAGES)
def test_a_page_speaks_the_language_that_is_asked_for(path: str, read: httpx.Client):
    japanese, english = read.get(path), read.get(path, headers=ENGLISH)
    assert japanese.headers["content-language"] == "ja"
    assert english.headers["content-language"] == "en"
    assert '<html lang="ja">' in japanese.text
    assert '<html lang="en">' in english.text
    for answer in (japanese, english):
        assert "Accept-Language" in answer.headers["vary"]
    wanted = read.get(f"{path}?lang=en")
    assert wanted.headers["content-language"] == "en"
    # What the address says goes on with every link to another page.
    inner = [link for link in Page(wanted).links if re.match(r"/(p/|\?|$)", link) and "lang=ja" not in link]
    assert all("lang=en" in link for link in inner)


class Spoken(HTMLParser):
    """What a screen reader would speak with the wrong voice: Japanese where the page says that it is English."""

    UNSPOKEN, ALONE = {"title", "option", "svg"}, {"meta", "link", "input", "br"}

    def __init__(self, answer: httpx.Response) -> None:
        super().__init__()
        self.within: list[tuple[str, str]] = []  # elements, each with its language
        self.misspoken: list[str] = []
        self.feed(answer.text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in self.ALONE:
            inherited = self.within[-1][1] if self.within else ""
            self.within.append((tag, dict(attrs).get("lang") or inherited))

    def handle_endtag(self, tag: str) -> None:
        while self.within and self.within.pop()[0] != tag:
            pass

    def handle_data(self, data: str) -> None:
        unspoken = {tag for tag, _ in self.within} & self.UNSPOKEN
        if not unspoken and re.search("[ぁ-んァ-ヶ一-龠]", data) and self.within[-1][1] == "en":
            self.misspoken.append(data.strip())


def test_japanese_on_an_english_page_is_marked_as_such(towns: httpx.Client):
    addresses = ["/", "/docs/problems"]
    addresses += [
        f"{FUJIMI_PLAN}{rest}"
        for rest in ("", "/measures?q=支援", "/measures/4-2-1", "/compare", "/documents/1")
    ]
    addresses += [
        f"/p/mihon-kodomo{rest}" for rest in ("", "?unit=measure", "/measures", "/measures/3-1", "/compare")
    ]
    addresses += ["/p/mihon-senryaku", "/p/mihon-senryaku/compare", "/p/mitori-kankyo/measures?rating=継続"]
    for address in addresses:
        assert Spoken(towns.get(address, headers=ENGLISH)).misspoken == [], address


@pytest.mark.parametrize("path", PAGES)
def test_a_page_that_is_known_is_not_sent_again(path: str, read: httpx.Client):
    answer = read.get(path)
    assert answer.headers["cache-control"] == "public, no-cache"
    again = read.get(path, headers={"If-None-Match": answer.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert again.headers["etag"] == answer.headers["etag"]
    assert listed(again, "vary") == listed(answer, "vary") >= {"Accept-Language", "Accept-Encoding"}
    other = read.get(path, headers=ENGLISH | {"If-None-Match": answer.headers["etag"]})
    assert other.status_code == 200
    head = read.head(path)
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["etag"] == answer.headers["etag"]
    assert head.headers["content-length"] == answer.headers["content-length"]
    assert read.put(path).headers["allow"] == "GET, HEAD, OPTIONS"


def test_a_write_changes_the_page(town: Service, admin: httpx.Client):
    before = town.anyone.get(FUJIMI_PLAN)
    assert admin.patch("/plans/1", json={"licence": "CC BY 4.0"}, headers={"If-Match": "*"}).is_success
    after = town.anyone.get(FUJIMI_PLAN, headers={"If-None-Match": before.headers["etag"]})
    assert after.status_code == 200
    assert "利用条件 CC BY 4.0" in Page(after).text


def test_an_error_on_a_page_is_a_page_where_a_browser_asks(read: httpx.Client):
    for path, status, words in (
        ("/p/nope", 404, "見つかりません"),
        (f"{FUJIMI_PLAN}/measures/9-9-9", 404, "見つかりません"),
        (f"{FUJIMI_PLAN}/documents/9", 404, "見つかりません"),
        (f"{FUJIMI_PLAN}/measures?fiscal_year=29", 422, "元号がありません"),
        (f"{FUJIMI_PLAN}?colour=red", 422, "このパラメーターはありません"),
        ("/nothing/here", 404, "このアドレスには何もありません"),
    ):
        shown = page(read, path, status)
        assert words in shown.text
        assert shown.answer.headers["cache-control"] == "no-store"
        assert shown.answer.headers["content-security-policy"].startswith("default-src 'none'")
        told = read.get(path)
        assert (told.status_code, told.headers["content-type"]) == (status, "application/problem+json")
    assert "Not found" in page(read, "/p/nope", 404, **ENGLISH).text
    for path in ("/plans/nope", "/plans?nope=1", "/measures/999"):
        assert read.get(path, headers=BROWSER).headers["content-type"] == "application/problem+json"
    refused = read.post("/", headers=BROWSER)
    assert (refused.status_code, refused.headers["allow"]) == (405, "GET, HEAD, OPTIONS")


# ---------------------------------------------------------------------------------------------------------
# Safety


@pytest.mark.parametrize("path", [*PAGES, "/p/nope"])
def test_a_page_allows_no_script_and_nothing_from_elsewhere(path: str, read: httpx.Client):
    answer = read.get(path, headers=BROWSER)
    assert answer.headers["content-security-policy"] == (
        "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; base-uri 'none'; "
        "frame-ancestors 'none'"
    )
    assert answer.headers["referrer-policy"] == "same-origin"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "set-cookie" not in answer.headers
    for link in Page(answer).links:
        assert link.startswith("/") or link.startswith("#"), link


def test_what_is_written_stays_text(town: Service, admin: httpx.Client):
    nasty = "<script>alert(1)</script>\"'&<b>{{ 7*7 }}"
    code = "a?b#c%&\"'<i>施"
    parts: list[tuple[str, dict[str, Any]]] = [
        ("plans", {"slug": "nasty", "title": nasty, "municipality_code": "112011", "municipality": nasty}),
        ("sections", {"plan": "nasty", "code": code, "label": nasty, "title": nasty}),
        ("measures", {"plan": "nasty", "section": code, "code": code, "title": nasty, "path": [nasty]}),
        (
            "evaluations",
            {
                "plan": "nasty",
                "measure_code": code,
                "fiscal_year": 2017,
                "rating": "<b>\"'",
                "implementation": nasty + "\nnew line",
                "department": nasty,
                "extra": {nasty: nasty},
            },
        ),
    ]
    for noun, row in parts:
        assert admin.post(f"/{noun}", json=row).status_code == 201
    encoded = quote(code, safe="")
    for path in (
        "/",
        "/p/nasty",
        "/p/nasty/measures",
        "/p/nasty/measures?q=alert",
        f"/p/nasty/measures/{encoded}",
    ):
        shown = page(town.anyone, path)  # Page refuses a <script>
        assert "{{ 7*7 }}" in shown.text
        assert "49" not in shown.text
    assert codes(page(town.anyone, "/p/nasty/measures")) == [encoded]
    assert "<mark>alert</mark>" in town.anyone.get("/p/nasty/measures?q=alert").text


def test_whatever_is_asked_of_a_page_gets_a_clean_answer(read: httpx.Client):
    targets = [f"/?{name}=" for name in ("q", "cursor", "lang")]
    targets += [f"{FUJIMI_PLAN}?{name}=" for name in ("fiscal_year", "unit")]
    targets += [
        f"{FUJIMI_PLAN}/measures?{name}="
        for name in ("q", "section", "fiscal_year", "rating", "department", "cursor")
    ]
    targets += [f"{FUJIMI_PLAN}/compare?from=H29&to=", f"{FUJIMI_PLAN}/documents/1?line=", "/p/"]
    targets += [f"{FUJIMI_PLAN}/measures/", f"{FUJIMI_PLAN}/documents/", "/style.css?v="]
    texts = [
        quote(text.encode("utf-8", "surrogatepass"), safe="") for text in TEXTS.values() if len(text) < 6_000
    ]
    for target in targets:
        for text in [*texts, *ENCODINGS.values()]:
            answer = read.get(target + text, headers=BROWSER)
            assert answer.status_code in (200, 303, 307, 400, 404, 422), (target, text)


# ---------------------------------------------------------------------------------------------------------
# All links, and what it weighs


def test_every_link_leads_somewhere(towns: httpx.Client):
    """From the front page on, through every page; files for spreadsheets are asked for where the service has them."""
    tables = towns.get("/plans.csv").is_success
    waiting, seen = ["/"], set[str]()
    while waiting:
        address = waiting.pop()
        parts = urlsplit(address)
        if address in seen or parts.netloc or (parts.path.endswith(".csv") and not tables):
            continue
        seen.add(address)
        answer = towns.get(address, headers=BROWSER)
        assert answer.status_code == 200, address
        if answer.headers["content-type"].startswith("text/html") and not parts.path.startswith("/docs"):
            found = [urljoin(address, link).partition("#")[0] for link in Page(answer).links]
            # Each page stands in English too, and each row in its document: one of them is enough here.
            waiting += [link for link in found if "lang=" not in link and "/documents/1?" not in link]
    assert len(seen) > 80


def test_the_first_page_weighs_little(read: httpx.Client):
    for path in PAGES:
        answer = read.get(path)
        parts = [link for link in Page(answer).links if link.startswith(("/style", "/icon"))]
        sizes = [len(read.get(part).content) for part in parts]
        assert len(answer.content) + sum(sizes) < 50_000, path


def test_styles_are_kept_for_as_long_as_they_are_what_they_were(read: httpx.Client):
    [address] = [link for link in Page(read.get("/")).links if link.startswith("/style")]
    kept, asked = read.get(address), read.get("/style.css?v=old")
    assert kept.headers["cache-control"] == "public, max-age=31536000, immutable"
    assert asked.headers["cache-control"] == "public, no-cache"
    assert kept.headers["content-type"] == "text/css; charset=utf-8"
    again = read.get("/style.css", headers={"If-None-Match": kept.headers["etag"]})
    assert again.status_code == 304
