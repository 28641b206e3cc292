"""The page on which staff import a table, in a real browser: tried, corrected, confirmed."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from app.documents.vocabulary import FIELDS
from app.pages.importing import COLUMNS
from tests.conftest import FUJIMI, SEED, Backend, Service, running
from tests.test_browser import DESK, PHONE, WCAG, Visit, browser, violations, visiting

__all__ = ["browser"]

SAMPLES = Path(__file__).parent / "samples"


@pytest.fixture
def office(tmp_path: Path) -> Iterator[Service]:
    with running(Backend("sqlite", tmp_path, None).seeded()) as service:
        yield service


def opened(visit: Visit, key: str, file: Path) -> None:
    visit.go("/import")
    visit.page.get_by_label("キー").fill(key)
    visit.page.get_by_label("表のファイル").set_input_files(file)


def test_a_table_is_tried_corrected_and_imported(browser: Browser, office: Service, tmp_path: Path):
    """Next year's table with a header that nobody knows: the column is named on the page, then it is written."""
    file = tmp_path / "fujimi-h30.txt"
    text = SEED.read_text("utf-8").replace("H30計画内容", "H31計画内容").replace("H29実施内容", "H30のようす")
    file.write_text(text.replace("(平成29年度", "(平成30年度"), "utf-8")
    before = office.state().seq
    with visiting(browser, office.anyone, viewport=DESK) as visit:
        page = visit.page
        opened(visit, office.key("editor", FUJIMI), file)
        page.get_by_role("button", name="試しに読む").click()
        column = page.get_by_label("H30のようす")
        expect(column).to_have_value("extra")
        column.select_option("implementation")
        expect(page.get_by_role("heading", name="読み取れました")).to_be_visible()
        expect(page.get_by_label("H30のようす")).to_have_value("implementation")
        expect(page.get_by_role("row", name="年度評価")).to_contain_text("26")
        assert office.state().seq == before  # nothing has been written yet
        for size in (PHONE, DESK):
            page.set_viewport_size(size)
            assert page.evaluate("document.documentElement.scrollWidth") <= size["width"]
            assert violations(page, runOnly={"type": "tag", "values": WCAG}) == []
        page.get_by_role("button", name="この内容で取り込む").click()
        expect(page.get_by_role("heading", name="取り込みました")).to_be_focused()
        page.get_by_role("link", name="計画を見る").click()
        expect(page.get_by_role("link", name="平成30年度（2018）").first).to_be_visible()
    rows = office.anyone.get("/evaluations?fiscal_year=H30&limit=1").json()
    assert rows["metadata"]["resultset"]["count"] == 26
    assert rows["results"][0]["implementation"] == "平成29年10月に子ども未来応援センターを設置"


def test_what_is_not_understood_is_shown_with_its_place(browser: Browser, office: Service, tmp_path: Path):
    file = tmp_path / "fujimi-h29.txt"
    file.write_text(SEED.read_text("utf-8").replace("第1節\t2\t①", "<b>だい</b>\t2\t①"), "utf-8")
    with visiting(browser, office.anyone, viewport=PHONE) as visit:
        opened(visit, office.key("editor", FUJIMI), file)
        visit.page.get_by_role("button", name="試しに読む").click()
        expect(visit.page.get_by_role("heading", name="読み取れないところがあります")).to_be_focused()
        expect(visit.page.locator(".problems li")).to_have_count(1)
        expect(visit.page.locator(".problems li")).to_contain_text("13行目 1列目")
        expect(visit.page.locator(".problems q")).to_have_text("<b>だい</b>")
        expect(visit.page.get_by_role("button", name="この内容で取り込む")).to_have_count(0)
        visit.complaints[:] = [said for said in visit.complaints if "422" not in said]


def test_a_spreadsheet_makes_a_new_plan(browser: Browser, office: Service):
    with visiting(browser, office.anyone, viewport=DESK) as visit:
        page = visit.page
        opened(visit, office.key("admin"), SAMPLES / "reiji.xlsx")
        page.get_by_label("計画", exact=True).select_option("")
        page.get_by_label("識別名").fill("reiji-kodomo")
        page.get_by_label("全国地方公共団体コード").fill("47901")
        page.get_by_label("市区町村名").fill("例示市")
        page.get_by_role("button", name="試しに読む").click()
        expect(page.get_by_text("新しい施策")).to_be_visible()
        expect(page.get_by_text("1-1, 1-2, 2-1, 2-2")).to_be_visible()
        page.get_by_role("button", name="この内容で取り込む").click()
        page.get_by_role("link", name="計画を見る").click()
        expect(page.get_by_role("heading", level=1)).to_contain_text("例示市子ども・若者計画")


def test_the_key_is_kept_in_the_tab_alone(browser: Browser, office: Service):
    with visiting(browser, office.anyone) as visit:
        opened(visit, "shk_wrong", SEED)
        visit.page.get_by_role("button", name="試しに読む").click()
        expect(visit.page.locator(".problems")).to_contain_text("キー")
        visit.page.reload()
        expect(visit.page.get_by_label("キー")).to_have_value("shk_wrong")
        assert visit.page.evaluate("[localStorage.length, document.cookie]") == [0, ""]
        other = visit.page.context.new_page()
        other.goto(f"{visit.base}/import")
        expect(other.get_by_label("キー")).to_have_value("")
        visit.complaints[:] = [said for said in visit.complaints if "401" not in said]


def test_without_scripts_the_page_says_what_to_do(browser: Browser, office: Service):
    with visiting(browser, office.anyone, java_script_enabled=False) as visit:
        visit.go("/import")
        expect(visit.page.get_by_text("この画面には JavaScript が必要です")).to_be_visible()
        expect(visit.page.locator("form")).to_be_hidden()


def test_every_field_that_a_column_can_be_has_a_name():
    assert COLUMNS.keys() == set(FIELDS)
