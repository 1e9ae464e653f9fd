"""The built site, and a page of a real browser to look at it."""

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


@pytest.fixture
def page(browser: Any) -> Iterator[Any]:
    """A new page of the browser on a desktop's screen."""
    context = browser.new_context(viewport={"width": 1440, "height": 900})
    yield context.new_page()
    context.close()
