"""The machine's own Chromium, driven by Playwright: found, installed where that can be done, never downloaded."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

from playwright.sync_api import Browser, sync_playwright

FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-component-update",
)  # fmt: skip
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
PACKAGES = ("chromium", "fonts-noto-cjk")


def chromium() -> str | None:
    """Where the machine's Chromium is; where there is none, root on Debian has it installed."""
    if found := _found():
        return found
    if os.name == "posix" and os.geteuid() == 0 and shutil.which("apt-get"):
        _install()
    return _found()


def _found() -> str | None:
    return next(filter(None, map(shutil.which, NAMES)), None)


def _install() -> None:
    quiet = {"check": False, "stdin": subprocess.DEVNULL, "capture_output": True}
    wait = ["-o", "DPkg::Lock::Timeout=600"]  # another worker may be at it
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for command in (["update"], ["install", "--yes", "--no-install-recommends", *PACKAGES]):
        subprocess.run(["apt-get", *wait, *command], env=environment, **quiet)


@contextmanager
def launched(executable: str) -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=list(FLAGS))
        yield browser
        browser.close()
