"""The built site, and a real browser to look at it."""

import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from lpm.cli import parser
from lpm.local import paths
from lpm.site.build import build_site
from lpm.site.facts import Facts
from lpm.site.gathering import gather

ENVIRONMENTS = ("devtest", "prod")
# Without these, a browser in a closed network tries to reach its maker at every start.
QUIET = (
    *("--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync"),
)


@pytest.fixture(scope="session")
def facts() -> Facts:
    """What the pages of the environments on Azure say, without evidence."""
    return gather(ENVIRONMENTS, {}, parser(), paths.checkout() / "build" / "site" / "cache")


@pytest.fixture(scope="session")
def site(facts: Facts, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built site; building it is strict."""
    return build_site(facts, tmp_path_factory.mktemp("site"))


@pytest.fixture(scope="session")
def address(site: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Where the site is served, below a prefix as Airflow does; nothing else is."""
    root = tmp_path_factory.mktemp("host")
    (root / "runbooks").symlink_to(site)

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(root))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/runbooks/"
        server.shutdown()


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """A headless Chromium: the machine's own, else one that Playwright fetches; skipped where neither can be had."""
    from playwright.sync_api import Error, sync_playwright

    found = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    with sync_playwright() as playwright:
        if found is None:
            found = _fetched()
        arguments = [*QUIET, *(["--no-sandbox"] if os.geteuid() == 0 else [])]
        try:
            chromium = playwright.chromium.launch(executable_path=found, args=arguments)
        except Error as error:
            pytest.skip(f"no Chromium: none is installed, and fetching one failed ({str(error).splitlines()[0]})")
        yield chromium
        chromium.close()


def _fetched() -> None:
    """Let Playwright fetch a Chromium into the state folder, where the next run finds it. None: its usual place."""
    os.environ["PLAYWRIGHT_BROWSERS_PATH"] = str(paths.home() / "browsers")
    command = [sys.executable, "-m", "playwright", "install", "chromium", "--only-shell"]
    try:
        subprocess.run(command, capture_output=True, check=False, timeout=120)
    except subprocess.TimeoutExpired:
        return


@pytest.fixture
def page(browser: Any) -> Iterator[Any]:
    """A new page of the browser on a desktop's screen."""
    context = browser.new_context(viewport={"width": 1440, "height": 900})
    yield context.new_page()
    context.close()
