"""The page on which staff import a table, in a real browser: tried, corrected, confirmed."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Locator, Page, Route, expect

from app.documents.vocabulary import FIELDS
from app.pages.importing import COLUMNS
from tests.conftest import FUJIMI, SEED, Backend, Service, lent
from tests.test_browser import DESK, PHONE, WCAG, Visit, violations, visiting

SAMPLES = Path(__file__).parent / "samples"


@pytest.fixture
def office(sqlite: Backend) -> Iterator[Service]:
    with lent(sqlite) as service:
        yield service


@pytest.fixture(scope="module")
def counter(sqlite: Backend) -> Iterator[Service]:
    """An office where tables are tried, and none is imported."""
    with lent(sqlite) as service:
        before = service.state()
        yield service
        assert service.state() == before


def opened(visit: Visit, key: str, file: Path) -> None:
    visit.go("/import")
    visit.page.get_by_label("キー").fill(key)
    visit.page.get_by_label("表のファイル").set_input_files(file)


def tried(visit: Visit, key: str, file: Path) -> Page:
    opened(visit, key, file)
    visit.page.get_by_role("button", name="試しに読む").click()
    return visit.page


def for_a_new_plan(page: Page) -> None:
    page.get_by_label("計画", exact=True).select_option("新しい計画")
    page.get_by_label("識別名").fill("reiji-kodomo")
    page.get_by_label("全国地方公共団体コード").fill("47901")
    page.get_by_label("市区町村名").fill("例示市")


def seed_with(folder: Path, *changes: tuple[str, str]) -> Path:
    text = SEED.read_text("utf-8")
    for old, new in changes:
        assert text.count(old)
        text = text.replace(old, new)
    file = folder / "fujimi.txt"
    file.write_text(text, "utf-8")
    return file


def refusals_are_expected(visit: Visit) -> None:
    """A browser notes each answer that is an error."""
    visit.complaints[:] = [said for said in visit.complaints if "422" not in said]


def line(page: Page, number: int) -> Locator:
    return page.locator(f"#line-0-{number}")


def below(page: Page, number: int) -> Locator:
    """What is said of a line stands directly under it."""
    return line(page, number).locator("xpath=following-sibling::tr[1]")


UNDERSTOOD, REFUSED = "読み取れました", "読み取れないところが"


def test_a_table_is_tried_corrected_and_imported(browser: Browser, office: Service, tmp_path: Path):
    """Next year's table with a header that nobody knows: the column is named on the page, then it is written."""
    file = seed_with(
        tmp_path,
        ("H30計画内容", "H31計画内容"),
        ("H29実施内容", "H30のようす"),
        ("(平成29年度", "(平成30年度"),
    )
    before = office.state()
    with visiting(browser, office.anyone, viewport=DESK) as visit:
        page = tried(visit, office.key("editor", FUJIMI), file)
        column = page.get_by_label("H30のようす")
        expect(column).to_have_value("extra")
        column.select_option("implementation")
        expect(page.get_by_label("5列目の年度")).to_have_value("平成30年度")
        expect(column).to_have_value("implementation")
        expect(column).to_be_focused()
        expect(page.get_by_role("heading", name=UNDERSTOOD)).to_be_visible()
        expect(page.get_by_role("row", name="年度評価")).to_contain_text("26")
        expect(line(page, 7)).to_contain_text("施策 1-1-1")
        expect(line(page, 7)).to_contain_text("平成29年10月に子ども未来応援センターを設置")
        assert office.state() == before  # nothing has been written yet
        for size in (PHONE, DESK):
            page.set_viewport_size(size)
            assert page.evaluate("document.documentElement.scrollWidth") <= size["width"]
            assert violations(page, runOnly={"type": "tag", "values": WCAG}) == []
        expect(page.get_by_text("取り込み先: 富士見市 夢つなぐ富士見プロジェクト")).to_be_visible()
        page.get_by_role("button", name="この内容で取り込む").click()
        expect(page.get_by_role("heading", name="取り込みました")).to_be_focused()
        page.get_by_role("link", name="計画を見る").click()
        expect(page.get_by_role("link", name="平成30年度（2018）").first).to_be_visible()
    rows = office.anyone.get("/evaluations?fiscal_year=H30&limit=1").json()
    assert rows["metadata"]["resultset"]["count"] == 26
    assert rows["results"][0]["implementation"] == "平成29年10月に子ども未来応援センターを設置"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_errors_stand_at_their_cells(browser: Browser, counter: Service, tmp_path: Path, scheme: str):
    file = seed_with(tmp_path, ("第1節\t2\t①", "<b>だい</b>\t2\t①"), ("設置準備\tB", "設置準備\tB,C"))
    with visiting(browser, counter.anyone, viewport=PHONE, color_scheme=scheme) as visit:
        page = tried(visit, counter.key("editor", FUJIMI), file)
        expect(page.get_by_role("heading", name=f"{REFUSED} 2 か所あります")).to_be_focused()
        expect(page.locator(".problems li")).to_have_count(2)
        expect(page.locator(".problems q").first).to_have_text("<b>だい</b>")
        expect(page.locator("td.wrong")).to_have_text(["誤り 1<b>だい</b>", "誤り 2B,C"])
        for number, column, said in ((13, 1, "番号を読み取れません"), (16, 6, "コンマと none は使えません")):
            message = below(page, number).get_by_role("listitem")
            expect(message).to_contain_text(said)
            cell = page.locator(f"#line-0-{number}-{column}")
            expect(cell).to_have_attribute("aria-describedby", str(message.get_attribute("id")))
        page.get_by_role("link", name="16行目 6列目").click()
        expect(page.locator("#line-0-16-6")).to_be_focused()
        expect(page.locator("#line-0-16-6")).to_be_in_viewport()
        page.locator("#line-0-16-6").get_by_role("link", name="誤り 2").press("Enter")
        expect(page.locator("#finding-2")).to_be_focused()
        assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
        assert violations(page, runOnly={"type": "tag", "values": WCAG}) == []
        expect(page.get_by_role("button", name="この内容で取り込む")).to_have_count(0)
        refusals_are_expected(visit)


def test_the_table_scrolls_by_itself_and_by_keyboard(browser: Browser, counter: Service):
    with visiting(browser, counter.anyone, viewport=PHONE) as visit:
        page = tried(visit, counter.key("editor", FUJIMI), SEED)
        page.get_by_role("region", name="表").focus()
        expect(page.get_by_label("8列目 H30計画内容")).not_to_be_in_viewport()
        page.keyboard.press("End")
        for _ in range(40):
            page.keyboard.press("ArrowRight")
        expect(line(page, 38).get_by_role("cell").last).to_be_in_viewport()
        expect(line(page, 38).get_by_role("rowheader")).to_be_in_viewport()  # it stays, and so do the heads
        expect(page.get_by_label("8列目 H30計画内容")).to_be_in_viewport()
        assert page.evaluate("[scrollX, document.documentElement.scrollWidth]") == [0, PHONE["width"]]


def test_a_question_is_answered_where_it_is_asked(browser: Browser, counter: Service, tmp_path: Path):
    """A measure with another title, be it an odd one: one press says that it was renamed."""
    file = seed_with(tmp_path, ("子ども未来応援基金の創設", "基金のon_rename=x"))
    with visiting(browser, counter.anyone, viewport=DESK) as visit:
        page = tried(visit, counter.key("editor", FUJIMI), file)
        expect(page.locator("#line-0-17-4")).to_have_class("wrong")
        said = below(page, 17)
        expect(said).to_contain_text(
            "名称が「子ども未来応援基金の創設」から「基金のon_rename=x」に変わっています"
        )
        said.get_by_role("button", name="名称が変わった施策: 表の名称に改める").click()
        expect(page.get_by_role("heading", name=UNDERSTOOD)).to_be_focused()
        expect(page.locator("#on_rename")).to_have_value("update")
        renamed = page.locator("details", has_text="名称の変わった施策").get_by_role("link")
        expect(renamed).to_have_text("1-3-1 基金のon_rename=x")
        refusals_are_expected(visit)


def test_a_question_leads_to_the_field_that_answers_it(browser: Browser, counter: Service, tmp_path: Path):
    """A year without its era: the field is there, open and under the cursor."""
    file = seed_with(
        tmp_path, ("(平成29年度", "(第"), ("H29実施内容", "実施内容"), ("H30計画内容", "今後の取組")
    )
    with visiting(browser, counter.anyone, viewport=DESK) as visit:
        page = tried(visit, counter.key("editor", FUJIMI), file)
        page.locator(".problems").get_by_role("button", name="年度").first.click()
        expect(page.locator("#fiscal_year")).to_be_focused()
        page.keyboard.type("H29")
        page.keyboard.press("Enter")
        expect(page.get_by_role("heading", name=UNDERSTOOD)).to_be_visible()
        refusals_are_expected(visit)


def test_of_two_meanings_one_is_chosen_by_a_press(browser: Browser, counter: Service, tmp_path: Path):
    file = seed_with(tmp_path, ("理由・課題等", "H29取組状況"))
    with visiting(browser, counter.anyone, viewport=DESK) as visit:
        page = tried(visit, counter.key("editor", FUJIMI), file)
        expect(page.locator(".sheet th.open")).to_contain_text("7列目 H29取組状況")
        said = below(page, 6)
        expect(said).to_contain_text("実施内容 / その他の列")
        said.get_by_role("button", name="列の項目").click()
        expect(page.get_by_label("7列目 H29取組状況")).to_be_focused()
        said.get_by_role("button", name="その他の列").first.click()
        expect(page.get_by_role("heading", name=UNDERSTOOD)).to_be_focused()
        expect(page.get_by_label("7列目 H29取組状況")).to_have_value("extra")
        refusals_are_expected(visit)


def test_the_year_of_a_column_is_chosen_by_a_press(browser: Browser, counter: Service, tmp_path: Path):
    file = tmp_path / "years.csv"
    file.write_text("い計画\n番号,事業名,R4評価,R5評価,実績\n1-1-1,学習,A,B,8\n", "utf-8")
    with visiting(browser, counter.anyone, viewport=DESK) as visit:
        opened(visit, counter.key("admin"), file)
        for_a_new_plan(visit.page)
        visit.page.get_by_role("button", name="試しに読む").click()
        below(visit.page, 2).get_by_role("button", name="実施内容 令和5年度").click()
        expect(visit.page.get_by_role("heading", name=UNDERSTOOD)).to_be_focused()
        expect(visit.page.get_by_label("5列目の年度")).to_have_value("令和5年度")
        refusals_are_expected(visit)


def test_a_year_is_corrected_in_place_and_a_slip_can_be_taken_back(browser: Browser, counter: Service):
    with visiting(browser, counter.anyone, viewport=DESK) as visit:
        page = tried(visit, counter.key("editor", FUJIMI), SEED)
        year = page.get_by_label("6列目の年度")
        expect(year).to_have_value("平成29年度")
        year.fill("29")
        year.press("Enter")
        expect(page.locator(".problems")).to_contain_text("元号がありません")
        expect(year).to_be_focused()
        year.fill("R1")
        year.press("Enter")
        expect(below(page, 6)).to_contain_text("この列は 2019 年度、ほかの列によれば 2017 年度です")
        year.fill("H29")
        year.press("Enter")
        expect(page.get_by_role("heading", name=UNDERSTOOD)).to_be_visible()
        expect(year).to_have_value("平成29年度")
        expect(year).to_be_focused()
        refusals_are_expected(visit)


def test_where_no_header_is_known_the_columns_are_named_one_by_one(browser: Browser, counter: Service):
    with visiting(browser, counter.anyone, viewport=DESK) as visit:
        opened(visit, counter.key("admin"), SAMPLES / "renshu.xlsx")
        page = visit.page
        for_a_new_plan(page)
        page.get_by_text("表から分からないことを補う").click()
        page.locator("#fiscal_year").fill("R4")
        page.get_by_role("button", name="試しに読む").click()
        expect(page.get_by_text("3列以上の項目を、表の上の欄で選んでください")).to_be_visible()
        expect(line(page, 3)).to_contain_text("市民文化祭")
        fields = ("path", "title", "department", "implementation", "rating")
        for number, field in enumerate(fields, 1):
            choice = page.locator(f"#column-0-{number}")
            choice.select_option(field)
            expect(page.locator("#result")).to_have_attribute("aria-busy", "false")
            expect(choice).to_have_value(field)
            expect(choice).to_be_focused()
        expect(page.get_by_role("heading", name=UNDERSTOOD)).to_be_visible()
        expect(line(page, 3)).to_contain_text("施策 1")
        refusals_are_expected(visit)


def test_an_answer_that_comes_late_is_not_shown(browser: Browser, counter: Service):
    """Two columns are corrected, and the first answer comes after the second."""
    held: list[Route] = []

    def hold_the_second(route: Route) -> None:
        if "mapping" in route.request.url and not held:
            held.append(route)
        else:
            route.continue_()

    with visiting(browser, counter.anyone, viewport=DESK) as visit:
        visit.page.route("**/imports?*", hold_the_second)
        page = tried(visit, counter.key("editor", FUJIMI), SEED)
        page.get_by_label("5列目 H29実施内容").select_option("extra")
        page.get_by_label("7列目 理由・課題等").select_option("extra")
        expect(page.get_by_role("heading", name=UNDERSTOOD)).to_be_visible()
        held[0].continue_()
        page.wait_for_timeout(500)
        for number in (5, 7):
            expect(page.locator(f"#column-0-{number}")).to_have_value("extra")


def test_what_is_changed_while_a_table_is_read_is_not_confirmed(browser: Browser, counter: Service):
    held: list[Route] = []
    with visiting(browser, counter.anyone, viewport=DESK) as visit:
        visit.page.route("**/imports?*", lambda route: held.append(route))
        page = tried(visit, counter.key("editor", FUJIMI), SEED)
        page.get_by_text("表から分からないことを補う").click()
        page.locator("#on_repeat").select_option("skip")
        held[0].continue_()
        expect(page.get_by_text("条件が変わりました")).to_be_visible()
        expect(page.get_by_role("button", name="この内容で取り込む")).to_have_count(0)


def test_many_errors_are_folded_and_lines_are_left_out(browser: Browser, counter: Service, tmp_path: Path):
    rows = "".join(f"{'x' if n % 20 == 0 else n}\t施策{n}\t実施\tA\n" for n in range(1, 401))
    file = tmp_path / "long.tsv"
    file.write_text("長い計画\n番号\t事業名\tH29実績\t評価\n" + rows, "utf-8")
    with visiting(browser, counter.anyone, viewport=DESK) as visit:
        page = tried(visit, counter.key("editor", FUJIMI), file)
        expect(page.get_by_role("heading", name=f"{REFUSED} 20 か所あります")).to_be_visible()
        expect(page.locator(".problems li").first).to_be_hidden()
        page.get_by_text("読み取れないところの一覧").click()
        expect(page.locator(".problems li").first).to_be_visible()
        expect(page.locator("td.wrong")).to_have_count(20)
        expect(page.locator("tr.gap").first).to_have_text("201～201行目は省いています")
        expect(page.locator(".sheet caption")).to_have_text("表 （ほかに 191 行あります）")
        refusals_are_expected(visit)


def test_a_file_that_was_saved_anew_is_to_be_chosen_anew(browser: Browser, counter: Service, tmp_path: Path):
    file = seed_with(tmp_path)
    with visiting(browser, counter.anyone) as visit:
        page = tried(visit, counter.key("editor", FUJIMI), file)
        expect(page.get_by_role("heading", name=UNDERSTOOD)).to_be_visible()
        file.write_text(file.read_text("utf-8") + "\n\n", "utf-8")
        page.get_by_role("button", name="試しに読む").click()
        expect(page.locator(".problems")).to_contain_text("もう一度選んでください")
        expect(page.get_by_role("button", name="この内容で取り込む")).to_have_count(0)
        visit.complaints[:] = [said for said in visit.complaints if "UPLOAD_FILE_CHANGED" not in said]


def test_what_was_understood_is_void_when_something_else_is_asked(browser: Browser, counter: Service):
    with visiting(browser, counter.anyone) as visit:
        page = tried(visit, counter.key("editor", FUJIMI), SEED)
        expect(page.get_by_role("button", name="この内容で取り込む")).to_be_visible()
        page.get_by_text("表から分からないことを補う").click()
        page.locator("#on_repeat").select_option("skip")
        expect(page.get_by_role("button", name="この内容で取り込む")).to_have_count(0)
        expect(page.get_by_text("条件が変わりました")).to_be_visible()
        page.get_by_label("表のファイル").set_input_files(SAMPLES / "mihon.csv")
        expect(page.locator("#result > *")).to_have_count(0)


def test_a_file_can_be_dropped(browser: Browser, counter: Service):
    with visiting(browser, counter.anyone) as visit:
        visit.go("/import")
        visit.page.get_by_label("キー").fill(counter.key("editor", FUJIMI))
        dropped = visit.page.evaluate_handle(
            "text => { const data = new DataTransfer(); data.items.add(new File([text], 'fujimi.txt')); return data; }",
            SEED.read_text("utf-8"),
        )
        visit.page.locator(".drop").dispatch_event("drop", {"dataTransfer": dropped})
        visit.page.get_by_role("button", name="試しに読む").click()
        expect(visit.page.get_by_role("row", name="年度評価")).to_contain_text("26")
        visit.page.locator(".drop").dispatch_event("drop", {"dataTransfer": dropped})
        expect(visit.page.locator("#result > *")).to_have_count(0)  # what was read is no more what is chosen


def test_what_is_confirmed_is_what_was_seen(browser: Browser, office: Service, tmp_path: Path):
    """A colleague changes the plan meanwhile: the page shows what would come of it now, says why, and asks again."""
    file = seed_with(tmp_path, ("基金の設置、運用について検討", "基金の設置を検討"))
    with visiting(browser, office.anyone, viewport=DESK) as visit:
        page = tried(visit, office.key("editor", FUJIMI), file)
        expect(page.get_by_role("row", name="年度評価")).to_have_text("年度評価0125")
        with office.holder(office.key("editor", FUJIMI)) as colleague:
            answer = colleague.patch(
                "/evaluations/1", json={"rationale": "別の理由"}, headers={"If-Match": "*"}
            )
            assert answer.is_success
        before = office.state()
        page.get_by_role("button", name="この内容で取り込む").click()
        expect(page.get_by_text("この計画が更新されたので、取り込みませんでした")).to_be_visible()
        expect(page.get_by_role("heading", name=UNDERSTOOD)).to_be_focused()
        expect(page.get_by_role("row", name="年度評価")).to_have_text("年度評価0224")
        assert office.state() == before
        assert violations(page, runOnly={"type": "tag", "values": WCAG}) == []
        page.get_by_role("button", name="この内容で取り込む").click()
        expect(page.get_by_role("heading", name="取り込みました")).to_be_focused()
        visit.complaints[:] = [said for said in visit.complaints if "412" not in said]


def test_a_spreadsheet_makes_a_new_plan(browser: Browser, office: Service):
    with visiting(browser, office.anyone, viewport=DESK) as visit:
        page = visit.page
        opened(visit, office.key("admin"), SAMPLES / "reiji.xlsx")
        for_a_new_plan(page)
        page.get_by_role("button", name="試しに読む").click()
        new = page.locator("details", has_text="新しい施策").get_by_role("link")
        expect(new).to_have_text(["1-1 妊婦健康診査", "1-2 産後ケア", "2-1 学習教室", "2-2 放課後子ども教室"])
        expect(page.get_by_role("region", name="表 Sheet1")).to_be_visible()
        page.get_by_role("button", name="この内容で取り込む").click()
        page.get_by_role("link", name="計画を見る").click()
        expect(page.get_by_role("heading", level=1)).to_contain_text("例示市子ども・若者計画")


def test_a_measure_that_the_table_does_not_have_leads_to_its_page(
    browser: Browser, counter: Service, tmp_path: Path
):
    [removed] = [
        row for row in SEED.read_text("utf-8").splitlines(keepends=True) if row.startswith("第2節\t2")
    ]
    with visiting(browser, counter.anyone) as visit:
        page = tried(visit, counter.key("editor", FUJIMI), seed_with(tmp_path, (removed, "")))
        expect(page.locator("details", has_text="今回の表にない施策").get_by_role("link")).to_have_text(
            "2-2-1"
        )
        expect(page.locator("details", has_text="注意")).to_contain_text(
            "fujimi-yumetsunagu/2-2-1/2017/1 は登録されています"
        )
        page.get_by_role("link", name="2-2-1").click()
        expect(page.get_by_role("heading", level=1)).to_contain_text("生活支援物資供給センターの設置")


def test_the_key_is_kept_in_the_tab_alone(browser: Browser, counter: Service):
    with visiting(browser, counter.anyone) as visit:
        page = tried(visit, "shk_wrong", SEED)
        expect(page.locator(".problems")).to_contain_text("キー")
        page.reload()
        expect(page.get_by_label("キー")).to_have_value("shk_wrong")
        assert page.evaluate("[localStorage.length, document.cookie]") == [0, ""]
        other = page.context.new_page()
        other.goto(f"{visit.base}/import")
        expect(other.get_by_label("キー")).to_have_value("")
        visit.complaints[:] = [said for said in visit.complaints if "401" not in said]


def test_a_key_that_no_key_can_be_is_not_sent(browser: Browser, counter: Service):
    """Typed in full-width letters, it would be refused by the browser and look like a service that is away."""
    with visiting(browser, counter.anyone) as visit:
        page = tried(visit, "ｓｈｋ＿１", SEED)
        assert page.get_by_label("キー").evaluate("field => field.validity.patternMismatch") is True
        assert page.locator("#outcome > *").count() == 0
        page.get_by_label("キー").fill(f"　{counter.key('editor', FUJIMI)} ")
        page.get_by_role("button", name="試しに読む").click()
        expect(page.get_by_role("heading", name=UNDERSTOOD)).to_be_visible()


def test_an_import_without_an_answer_is_not_called_a_failure(browser: Browser, office: Service):
    """The line breaks after the table was written: the page does not say that nothing was."""

    def lose_the_answer(route: Route) -> None:
        route.fetch()
        route.abort()

    with visiting(browser, office.anyone) as visit:
        page = visit.page
        opened(visit, office.key("admin"), SAMPLES / "reiji.xlsx")
        for_a_new_plan(page)
        page.get_by_role("button", name="試しに読む").click()
        expect(page.get_by_text("取り込み先: 例示市 reiji-kodomo")).to_be_visible()
        page.route("**/imports?*dry_run=false*", lose_the_answer)
        page.get_by_role("button", name="この内容で取り込む").click()
        expect(page.get_by_role("heading", name="取り込まれたかどうか、分かりません")).to_be_focused()
        expect(page.get_by_text("何も書き込んでいません")).to_have_count(0)
        page.get_by_role("button", name="試しに読む").click()
        expect(page.get_by_role("row", name="年度評価")).to_have_text("年度評価007")
        visit.complaints.clear()


def test_without_scripts_the_page_says_what_to_do(browser: Browser, counter: Service):
    with visiting(browser, counter.anyone, java_script_enabled=False) as visit:
        visit.go("/import")
        expect(visit.page.get_by_text("この画面には JavaScript が必要です")).to_be_visible()
        expect(visit.page.locator("form")).to_be_hidden()


def test_every_field_that_a_column_can_be_has_a_name():
    assert COLUMNS.keys() == set(FIELDS)
