"""``lpm site build``: from the facts to a checked static site."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType

import yaml

from lpm.config.reviews import load_reviews
from lpm.site import check
from lpm.site.dag_facts import CHECKOUT
from lpm.site.facts import Facts
from lpm.site.navigation import navigation
from lpm.site.page import Page
from lpm.site.pages import GENERATED
from lpm.site.prose import render_prose
from lpm.site.reviews import Register, read_approvals, reviewed

DOCS = CHECKOUT / "docs"
ASSETS = "assets"
# Pages whose tables need the room that the table of contents would take.
WIDE = {"traceability.md", "reference/dags.md", "validation/plan.md", "assessment/baseline.md"}
WITHOUT_CONTENTS = "---\nhide: [toc]\n---\n\n"


class SiteError(RuntimeError):
    """The site has faults. The message lists all of them."""


def render_pages(facts: Facts) -> list[Page]:
    """Every page as plain Markdown, sorted by path.

    Raises:
        SiteError: a page is written by hand and generated, too, or a page cannot be rendered.
    """
    if not DOCS.is_dir():
        raise SiteError(f"{DOCS} is missing\nNext step: put docs/ and mkdocs.yml beside dags/, as the Dockerfile does.")
    pages: dict[str, Page] = {}
    for page in (*_prose(facts), *_generated(facts)):
        if page.path in pages:
            raise SiteError(f"{page.path} is made twice: by hand in docs/ and by lpm.site.pages")
        pages[page.path] = page
    return [pages[path] for path in sorted(pages)]


def definitions(facts: Facts) -> list[Page]:
    """Every page without its evidence: what is approved of it.

    Raises:
        SiteError: as :func:`render_pages`.
    """
    return render_pages(replace(facts, evidence={}))


def reviewed_pages(facts: Facts) -> list[Page]:
    """Every page as it is published, with what is known of its approval in the first of the environments.

    Raises:
        SiteError: as :func:`render_pages`.
        ReviewError: ``reviews.yml`` does not cover the pages.
    """
    evidence = facts.evidence.get(facts.environments[0])
    register = Register(load_reviews(), facts.contacts, read_approvals(evidence) if evidence else None)
    return reviewed(render_pages(facts), definitions(facts), register, datetime.now(UTC))


def _prose(facts: Facts) -> Iterator[Page]:
    for path in sorted(DOCS.rglob("*.md")):
        yield render_prose(facts, path.relative_to(DOCS).as_posix(), path.read_text(encoding="utf-8"))


def _generated(facts: Facts) -> Iterator[Page]:
    for module in GENERATED:
        yield from _pages_of(module)(facts)


def _pages_of(module: ModuleType) -> Callable[[Facts], Iterator[Page]]:
    pages: Callable[[Facts], Iterator[Page]] = module.pages
    return pages


def build_site(facts: Facts, folder: Path) -> Path:
    """Make the site in ``folder``; what was there before stays until the new one has no fault.

    Returns:
        The folder of the static site, ``folder``/site.

    Raises:
        SiteError: pages contradict each other, MkDocs warns, or a link is dead. The last site is left as it is.
        ReviewError: ``reviews.yml`` does not cover the pages.
    """
    work = folder / "work"
    shutil.rmtree(work, ignore_errors=True)
    _write(reviewed_pages(facts), work)
    _run_mkdocs(work)
    if found := check.faults(work / "site"):
        raise SiteError("\n".join([f"{len(found)} faults in the built site", *found]))
    return _swap(work, folder)


def _write(pages: list[Page], work: Path) -> None:
    """Markdown, assets and the configuration of MkDocs."""
    source = work / "pages"
    for page in pages:
        path = source / page.path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text((WITHOUT_CONTENTS if page.path in WIDE else "") + page.text, encoding="utf-8")
    shutil.copytree(DOCS / ASSETS, source / ASSETS)
    inherited = yaml.safe_load((CHECKOUT / "mkdocs.yml").read_text(encoding="utf-8"))
    made = {**inherited, "docs_dir": "pages", "site_dir": "site", "nav": navigation(pages)}
    (work / "mkdocs.yml").write_text(json.dumps(made, ensure_ascii=False, indent=1), encoding="utf-8")  # JSON is YAML


def _run_mkdocs(work: Path) -> None:
    # Never with --quiet: strict counts what is logged, and --quiet logs nothing.
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--config-file", str(work / "mkdocs.yml")],
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        stdin=subprocess.DEVNULL,  # that of a task is its line to Airflow
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise SiteError(f"mkdocs build --strict failed:\n{done.stderr[-4000:]}")


def _swap(work: Path, folder: Path) -> Path:
    """Put the new site in the place of the last one. Two renames: a reader meets the one or the other."""
    site, last = folder / "site", folder / "last"
    shutil.rmtree(last, ignore_errors=True)
    if site.exists():
        site.rename(last)
    (work / "site").rename(site)
    shutil.rmtree(last, ignore_errors=True)
    return site
