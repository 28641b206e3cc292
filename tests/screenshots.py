"""Makes docs/screenshots anew: `make screenshots`. The towns beside 富士見市 are invented."""

import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from playwright.sync_api import Page

from app.kit.settings import ROOT
from tests.browser import chromium, launched
from tests.conftest import SEED, Backend, running
from tests.invented import invent

FOLDER = ROOT / "docs" / "screenshots"
DESK, PHONE = (1180, 900), (390, 844)
SHOTS = {
    "front": ("/", DESK, "light"),
    "plan": ("/p/fujimi-yumetsunagu", (1180, 1000), "light"),
    "measures": ("/p/fujimi-yumetsunagu/measures?q=学習　支援", DESK, "light"),
    "measure": ("/p/mihon-kodomo/measures/3-4", (1180, 1080), "light"),
    "years": ("/p/mihon-kodomo?fiscal_year=2020", (1180, 1560), "light"),
    "compare": ("/p/mihon-kodomo/compare?from=R2&to=R3", (1180, 1200), "light"),
    "source": ("/p/fujimi-yumetsunagu/documents/1?line=36#L30", DESK, "light"),
    "import": ("/import", (1180, 1500), "light"),
    "dark": ("/p/mihon-senryaku", DESK, "dark"),
    "phone": ("/p/fujimi-yumetsunagu", PHONE, "light"),
}


def main() -> None:
    executable = chromium()
    if executable is None:
        sys.exit("Screenshots need Chromium, and this machine has none.")
    FOLDER.mkdir(exist_ok=True)
    with (
        TemporaryDirectory() as folder,
        running(Backend("sqlite", Path(folder), None).seeded()) as service,
        launched(executable) as browser,
    ):
        with service.database.writing() as session:
            invent(session)
        for name, (path, (width, height), scheme) in SHOTS.items():
            context = browser.new_context(
                locale="ja-JP",
                viewport={"width": width, "height": height},
                color_scheme=scheme,  # type: ignore[arg-type]
                device_scale_factor=2 if width == PHONE[0] else 1,
            )
            page = context.new_page()
            page.goto(f"{str(service.anyone.base_url).rstrip('/')}{path}")
            if path == "/import":
                try_out(page, Path(folder), service.key("admin"))
            page.screenshot(path=FOLDER / f"{name}.png")
            context.close()


def try_out(page: Page, folder: Path, key: str) -> None:
    """The seed with a section that has no number."""
    table = folder / "h29.txt"
    table.write_text(SEED.read_text("utf-8").replace("第1節", "序節", 1), "utf-8")
    page.get_by_label("計画", exact=True).select_option("fujimi-yumetsunagu")
    page.get_by_label("キー").fill(key)
    page.get_by_label("表のファイル").set_input_files(table)
    page.get_by_role("button", name="試しに読む").click()
    page.get_by_role("region").get_by_text("序節").first.scroll_into_view_if_needed()


if __name__ == "__main__":
    main()
