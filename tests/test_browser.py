"""The pages in a real browser: wide and narrow, with a keyboard, without scripts, for everybody (WCAG 2.2 AA)."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import httpx
import pytest
from axe_playwright_python.base import AXE_FILE_PATH
from playwright.sync_api import Browser, Page, expect

from app.cli import beside
from app.documents.importing import import_document
from app.documents.told import Told
from app.kit.settings import ROOT
from app.pages.html import PATTERNS
from tests.conftest import Backend, lent
from tests.invented import invent
from tests.test_samples import SAMPLES

FUJIMI, CHILDREN, STRATEGY = "/p/fujimi-yumetsunagu", "/p/mihon-kodomo", "/p/mihon-senryaku"
PAGES = [
    "/",
    FUJIMI,
    f"{CHILDREN}?unit=measure&fiscal_year=2020",
    f"{STRATEGY}?lang=en",
    f"{FUJIMI}/measures?q=支援",
    f"{CHILDREN}/measures",
    f"{FUJIMI}/measures/4-2-1",
    f"{CHILDREN}/measures/1-5",
    f"{CHILDREN}/compare",
    f"{STRATEGY}/compare?lang=en",
    f"{FUJIMI}/compare",
    f"{FUJIMI}/documents/1?line=36",
    "/p/reiji-kodomo/documents/2?line=6",
    "/guide",
    "/dictionary",
    "/docs/problems",
    "/docs/problems/conflict?lang=en",
]
AXE = Path(AXE_FILE_PATH).read_text("utf-8")
WCAG = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]


@pytest.fixture(scope="module")
def shown(sqlite: Backend) -> Iterator[httpx.Client]:
    """The seed and invented plans of other towns. What the pages say on either database, others tests tell."""
    with lent(sqlite) as service:
        with service.database.writing() as session:
            invent(session)
            sheet = SAMPLES / "reiji.xlsx"
            import_document(session, sheet.read_bytes(), sheet.name, Told.model_validate(beside(sheet)))
        yield service.anyone


@dataclass
class Visit:
    """A page in the browser, and whatever it complained about or asked of other hosts."""

    page: Page
    base: str
    complaints: list[str] = field(default_factory=list)

    def go(self, path: str) -> None:
        assert self.page.goto(self.base + path).status == 200  # type: ignore[union-attr]


@contextmanager
def visiting(browser: Browser, shown: httpx.Client, **options: Any) -> Iterator[Visit]:
    base = str(shown.base_url).rstrip("/")
    context = browser.new_context(locale=options.pop("locale", "ja-JP"), **options)
    visit = Visit(context.new_page(), base)
    complain = visit.complaints.append
    visit.page.on("console", lambda said: said.type in ("error", "warning") and complain(said.text))
    visit.page.on("pageerror", lambda error: complain(str(error)))
    # Who goes on to another page leaves what was still loading.
    visit.page.on(
        "requestfailed",
        lambda request: request.failure == "net::ERR_ABORTED" or complain(f"{request.url} {request.failure}"),
    )
    here = (base, "data:")
    visit.page.on("request", lambda request: request.url.startswith(here) or complain(request.url))
    yield visit
    cookies = context.cookies()
    context.close()
    assert visit.complaints == []
    assert cookies == []


PHONE, DESK = {"width": 360, "height": 740}, {"width": 1280, "height": 900}


def violations(page: Page, **options: Any) -> list[Any]:
    """What axe finds; its script stays in the page until the next one is opened."""
    if not page.evaluate("'axe' in window"):
        page.evaluate(AXE)
    found = page.evaluate("options => axe.run({resultTypes: ['violations'], ...options})", options)
    return [(rule["id"], [node["html"][:200] for node in rule["nodes"]]) for rule in found["violations"]]


def test_every_page_is_for_everybody_at_every_width(browser: Browser, shown: httpx.Client):
    """axe finds nothing, and nothing runs over the edge."""
    with visiting(browser, shown) as visit:
        for path in PAGES:
            visit.page.set_viewport_size(PHONE)
            visit.go(path)
            visit.page.locator("details").evaluate_all("all => all.forEach(each => each.open = true)")
            for size in (PHONE, DESK):
                visit.page.set_viewport_size(size)
                assert visit.page.evaluate("document.documentElement.scrollWidth") <= size["width"], path
                found = violations(visit.page, runOnly={"type": "tag", "values": WCAG})
                assert found == [], (path, size)
            assert visit.page.locator("h1").count() == 1, path


def test_every_page_can_be_read_in_the_dark(browser: Browser, shown: httpx.Client):
    with visiting(browser, shown, color_scheme="dark", viewport=DESK) as visit:
        for path in PAGES:
            visit.go(path)
            found = violations(visit.page, runOnly={"type": "rule", "values": ["color-contrast"]})
            assert found == [], path


def test_the_pages_work_without_scripts(browser: Browser, shown: httpx.Client):
    """From the front page to one measure and its source, by links and a form alone."""
    with visiting(browser, shown, java_script_enabled=False, viewport=PHONE) as visit:
        visit.go("/")
        visit.page.get_by_role("link", name="夢つなぐ富士見プロジェクト").click()
        visit.page.get_by_role("link", name="施策", exact=True).click()
        visit.page.get_by_label("言葉で探す").fill("学習　支援")
        visit.page.get_by_label("評価").select_option("B")
        visit.page.get_by_role("button", name="絞り込む").click()
        assert visit.page.url.endswith("/measures?q=%E5%AD%A6%E7%BF%92%E3%80%80%E6%94%AF%E6%8F%B4&rating=B")
        expect(visit.page.get_by_role("status")).to_have_text("24 施策のうち 2 施策")
        assert set(visit.page.locator("mark").all_inner_texts()) == {"学習支援", "支援"}
        visit.page.get_by_role("link", name="3-3-1").click()
        expect(visit.page.get_by_role("heading", level=1)).to_contain_text("学習支援を行う団体への支援")
        visit.page.get_by_role("link", name="出典").click()
        expect(visit.page.locator("tr.asked")).to_contain_text("学習支援を行う団体への支援")
        visit.page.get_by_role("link", name="English").click()
        expect(visit.page.get_by_text("Download as it came")).to_be_visible()
        visit.page.get_by_role("link", name="Compare years").click()
        assert visit.page.url.endswith("/compare?lang=en")


def test_the_pages_work_with_a_keyboard_alone(browser: Browser, shown: httpx.Client):
    with visiting(browser, shown, viewport=DESK) as visit:
        visit.go(f"{CHILDREN}/measures")
        visit.page.keyboard.press("Tab")
        expect(visit.page.get_by_role("link", name="本文へ")).to_be_focused()
        expect(visit.page.get_by_role("link", name="本文へ")).to_be_in_viewport()
        visit.page.keyboard.press("Enter")
        visit.page.keyboard.press("Tab")
        expect(visit.page.get_by_label("言葉で探す")).to_be_focused()
        visit.page.keyboard.type("就労")
        visit.page.keyboard.press("Enter")
        expect(visit.page.get_by_role("status")).to_have_text("16 施策のうち 1 施策")
        seen = []
        for _ in range(60):
            visit.page.keyboard.press("Tab")
            focused = visit.page.evaluate(
                "() => { const at = document.activeElement, box = at.getBoundingClientRect(), "
                "style = getComputedStyle(at); return [at.textContent.trim().slice(0, 20), box.width > 0, "
                "style.outlineStyle !== 'none'] }"
            )
            seen.append(focused[0])
            assert focused[1:] == [True, True] or focused[0] == "", focused  # it can be seen where one is
            if focused[0].startswith("3-1 "):
                break
        visit.page.keyboard.press("Enter")
        expect(visit.page.get_by_role("heading", level=1)).to_contain_text("ひとり親家庭の就労支援")
        assert "絞り込む" in seen


def test_the_language_follows_the_browser(browser: Browser, shown: httpx.Client):
    with visiting(browser, shown, locale="en-GB") as visit:
        visit.go(FUJIMI)
        assert visit.page.evaluate("document.documentElement.lang") == "en"
        expect(visit.page.get_by_role("heading", name="What stands out")).to_be_visible()


def test_an_error_is_a_page(browser: Browser, shown: httpx.Client):
    with visiting(browser, shown) as visit:
        answer = visit.page.goto(f"{visit.base}/p/nope")
        assert answer is not None
        assert answer.status == 404
        expect(visit.page.get_by_role("heading", level=1)).to_have_text("見つかりません")
        visit.page.get_by_role("link", name="このエラーについて").click()
        expect(visit.page.get_by_role("heading", level=1)).to_have_text("見つかりません")
        visit.complaints[:] = [said for said in visit.complaints if "404" not in said]


def test_on_paper_there_is_the_content_and_no_controls(browser: Browser, shown: httpx.Client):
    with visiting(browser, shown) as visit:
        visit.page.emulate_media(media="print")
        for path in (FUJIMI, f"{CHILDREN}/measures"):
            visit.go(path)
            for gone in ("form", ".choices", ".language", "header nav"):
                for control in visit.page.locator(gone).all():
                    expect(control).to_be_hidden()
            expect(visit.page.get_by_role("heading", level=1)).to_be_visible()
        assert len(visit.page.pdf()) > 10_000


def test_on_paper_nothing_is_cut_off_and_the_filters_are_told(browser: Browser, shown: httpx.Client):
    """A table that scrolls on a screen cannot on a sheet of A4, and a printed list says what was asked."""
    sheet = {"width": 718, "height": 1000}
    with visiting(browser, shown, viewport=sheet) as visit:
        visit.page.emulate_media(media="print")
        for path in (
            f"{CHILDREN}?lang=en",
            f"{STRATEGY}?unit=measure",
            f"{CHILDREN}/compare",
            f"{FUJIMI}/documents/1",
        ):
            visit.go(path)
            edges = "() => [...document.querySelectorAll('table')].map(each => each.getBoundingClientRect().right)"
            assert max(visit.page.evaluate(edges)) <= sheet["width"], path
        visit.go(f"{CHILDREN}/measures?section=3&rating=B,none&q=支援&fiscal_year=R2")
        expect(visit.page.locator(".on-paper")).to_have_text(
            "条件: 言葉 支援 節 基本目標3 暮らしと仕事 年度 令和2年度（2020） 評価 B,評価なし"
        )
        expect(visit.page.locator(".on-paper")).to_be_visible()
        visit.page.emulate_media(media="screen")
        expect(visit.page.locator(".on-paper")).to_be_hidden()


def test_a_long_scale_can_be_read_at_every_width_and_on_paper(browser: Browser, sqlite: Backend):
    """Twelve codes: no number has to be scrolled to, each has its own pattern, and what has no meaning is told once."""
    codes = ["A", "B", "S", "A+", "A-", "B+", "B-", "C", "D", "E", "完了", "評価対象外"]
    with lent(sqlite) as service, service.holder(service.key()) as clerk:
        scale = {"ratings": [{"code": code} for code in codes]}
        assert clerk.patch("/plans/1", json=scale, headers={"If-Match": "*"}).is_success
        with visiting(browser, service.anyone) as visit:
            for media, size in (
                ("screen", PHONE),
                ("screen", DESK),
                ("print", {"width": 718, "height": 1000}),
            ):
                visit.page.emulate_media(media=media)
                visit.page.set_viewport_size(size)
                visit.go(FUJIMI)
                within = "all => all.map(each => each.getBoundingClientRect().right)"
                assert max(visit.page.locator(".number").evaluate_all(within)) <= size["width"], (media, size)
                assert violations(visit.page, runOnly={"type": "tag", "values": WCAG}) == []
                total = visit.page.get_by_role("row", name="全体").get_by_role("cell")
                assert len(total.all_inner_texts()) == 1 + len(codes) + 1
            patterns = "all => all.map(each => each.getAttribute('fill'))"
            drawn = visit.page.locator(".scale .swatch rect").evaluate_all(patterns)
            assert len(set(drawn)) == len(codes)
            assert visit.page.locator("pattern").count() == PATTERNS + 2  # mixed and unrated
            expect(visit.page.locator(".scale dd")).to_have_text("意味は資料に書かれていません")


def test_what_is_chosen_is_seen_without_our_colours(browser: Browser, shown: httpx.Client):
    with visiting(browser, shown, forced_colors="active") as visit:
        visit.go(CHILDREN)

        def look(selector: str, name: str) -> Any:
            looks = f"each => getComputedStyle(each).{name}"
            return visit.page.locator(selector).first.evaluate(looks)

        chosen, other = ".choices [aria-current]", ".choices a:not([aria-current])"
        assert look(chosen, "backgroundColor") != look(other, "backgroundColor")
        here, elsewhere = ".plan-head nav a[aria-current]", ".plan-head nav a:not([aria-current])"
        assert look(here, "borderBottomColor") != look(elsewhere, "borderBottomColor")


def test_the_api_can_be_tried_on_real_rows(browser: Browser, shown: httpx.Client):
    """/docs under its own policy: the example as it stands is sent and answered."""
    with visiting(browser, shown, viewport=DESK) as visit:
        visit.go("/docs?lang=en")
        operation = visit.page.locator("#operations-measures-follow_measure")
        expect(operation).to_contain_text("施策の経過", timeout=15_000)
        operation.locator(".opblock-summary-control").click()
        assert operation.get_by_placeholder("id").input_value() == "1"
        operation.get_by_role("button", name="Execute").click()
        answer = operation.locator(".responses-table.live-responses-table")
        expect(answer.locator(".response-col_status").last).to_contain_text("200")
        expect(answer).to_contain_text("子ども未来応援センター")
        tags = visit.page.locator(".opblock-tag").all_inner_texts()
        assert all(re.search("[ぁ-んァ-ヶ一-龠]", tag) for tag in tags), tags


# ---------------------------------------------------------------------------------------------------------
# Our data on the page of another site

EXAMPLE = ROOT / "examples" / "plan.html"


def test_the_example_is_short_and_asks_nobody_else():
    text = EXAMPLE.read_text("utf-8")
    assert len(text.splitlines()) < 150
    assert re.findall(r"https?://[^\"]+", text) == ["http://127.0.0.1:8000"]


@contextmanager
def another_site(text: str) -> Iterator[str]:
    """A site of one page. Its port makes it another origin."""

    class Site(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/html; charset=utf-8")
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, *said: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Site) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


def test_another_site_can_show_a_plan(browser: Browser, shown: httpx.Client):
    """The example as it stands, opened from another origin than the service's."""
    base = str(shown.base_url).rstrip("/")
    text = EXAMPLE.read_text("utf-8").replace("http://127.0.0.1:8000", base)
    with another_site(text) as site, visiting(browser, shown, viewport=PHONE) as visit:
        visit.page.goto(site)
        section = visit.page.locator(".shinchoku")
        expect(section.get_by_role("status")).to_have_text("24 施策")
        expect(section.get_by_role("listitem")).to_have_count(10)
        section.get_by_role("button", name="続きを見る").click()
        section.get_by_role("button", name="続きを見る").click()
        expect(section.get_by_role("listitem")).to_have_count(24)
        expect(section.get_by_role("button", name="続きを見る")).to_be_hidden()
        section.get_by_label("言葉で探す").fill("学習")
        section.get_by_label("評価").select_option("B")
        section.get_by_role("button", name="探す").click()
        expect(section.get_by_role("status")).to_have_text("2 施策")
        expect(section.get_by_role("listitem").last).to_contain_text(
            "B 平成29年度 庁内推進委員会調査専門部会で助成団体の資格基準等検討"
        )
        expect(section).to_contain_text("出典: 富士見市")
        found = violations(visit.page, runOnly={"type": "tag", "values": WCAG[:-1]})
        assert found == []
        visit.complaints[:] = [said for said in visit.complaints if said != site]


def test_a_rating_on_another_site_shows_the_rows_that_have_it(browser: Browser, shown: httpx.Client):
    """And not those of the newest year, which were rated otherwise."""
    text = EXAMPLE.read_text("utf-8").replace("http://127.0.0.1:8000", str(shown.base_url).rstrip("/"))
    text = text.replace("fujimi-yumetsunagu", "mihon-kodomo")
    with another_site(text) as site, visiting(browser, shown) as visit:
        visit.page.goto(site)
        section = visit.page.locator(".shinchoku")
        expect(section.get_by_role("status")).to_have_text("16 施策")
        section.get_by_label("評価").select_option("D")
        section.get_by_role("button", name="探す").click()
        expect(section.get_by_role("listitem").first).to_contain_text("1-5")
        assert set(section.locator(".mark").all_inner_texts()) == {"D"}
        visit.complaints[:] = [said for said in visit.complaints if said != site]
