"""The order of the pages. A page that is in no section is a fault: MkDocs says so."""

from collections.abc import Iterable
from typing import Any

from lpm.site.page import Page

# Sections by title; a name is a page, a folder (with a slash) all pages below it that are not named, index first.
SECTIONS: dict[str, tuple[str, ...]] = {
    "Home": ("index.md", "start/"),
    "When something is wrong": ("troubleshooting.md", "escalation.md", "runbooks/"),
    "Procedures": ("operations/index.md", "operations/go_live.md", "reference/dags.md", "operations/"),
    "Architecture": (
        "architecture/overview.md",
        "architecture/change-events.md",
        "architecture/guarantees.md",
        "architecture/security.md",
        "architecture/scalability.md",
        "architecture/decisions.md",
        "architecture/",
    ),
    "What runs": ("environments/", "source/", "router/", "companies.md"),
    "Evidence": ("assessment/", "validation/", "traceability.md", "reference/benchmarks.md", "reviews.md"),
    "Reference": ("configuration.md", "local-cloud.md", "reference/", "glossary.md", "changelog.md"),
}


def navigation(pages: Iterable[Page]) -> list[dict[str, Any]]:
    """MkDocs' ``nav`` for these pages."""
    titles = {page.path: page.title for page in pages}
    named = {entry for entries in SECTIONS.values() for entry in entries if not entry.endswith("/")}
    return [
        {section: listed}
        for section, entries in SECTIONS.items()
        if (listed := [line for entry in entries for line in _entry(entry, titles, named)])
    ]


def _entry(entry: str, titles: dict[str, str], named: set[str]) -> Iterable[Any]:
    if not entry.endswith("/"):
        return [{titles[entry]: entry}] if entry in titles else []
    below = [path for path in titles if path.startswith(entry) and path not in named]
    return [{titles[path]: path} for path in sorted(below, key=lambda path: (not path.endswith("index.md"), path))]
