"""What MkDocs does not see in the built site: links in raw HTML and in diagrams, their anchors, and foreign hosts."""

from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

LINKS = ("href", "src", "xlink:href")
# Links of the theme that a reader may follow; nothing is loaded from there.
NAMED_HOSTS = {"squidfunk.github.io"}
AIRFLOW = ("/dags/",)  # the site is served by Airflow, beside these pages of it
LOADING = {"script", "img", "link", "iframe", "source", "use", "image"}


class _Parsed(HTMLParser):
    """The links of a page, what loads something of its own, and the places that can be linked to."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.links: list[tuple[str, str]] = []  # tag, address
        self.places: set[str] = set()
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name in LINKS and value is not None and not (tag == "link" and ("rel", "canonical") in attrs):
                self.links.append((tag, value))
            if name in ("id", "name") and value:
                self.places.add(value)


def faults(site: Path) -> list[str]:
    """Every dead link, dead anchor, request to another host and page that no other links to, in words."""
    root = site.resolve()
    pages = {path: _Parsed(path) for path in sorted(root.rglob("*.html")) if path.name != "404.html"}
    found = [fault for path, page in pages.items() for fault in _faults_of(path, page, pages, root)]
    return found + [f"{path.relative_to(root)}: no page leads here in three clicks" for path in _far(pages, root)]


def _faults_of(path: Path, page: _Parsed, pages: dict[Path, _Parsed], root: Path) -> Iterator[str]:
    name = path.relative_to(root)
    for tag, link in page.links:
        parts = urlsplit(link)
        if parts.scheme in ("mailto", "tel", "data", "javascript"):
            continue
        if parts.netloc or parts.scheme:
            if tag in LOADING or parts.netloc not in NAMED_HOSTS:
                yield f"{name}: {tag} to another host: {link}"
            continue
        if parts.path.startswith("/"):
            if not parts.path.startswith(AIRFLOW):
                yield f"{name}: {link} begins at the root of the host, where this site does not lie"
            continue
        target = _target(path, parts.path)
        if not target.is_relative_to(root) or not target.exists():
            yield f"{name}: dead link {link}"
        elif parts.fragment and target in pages and unquote(parts.fragment) not in pages[target].places:
            yield f"{name}: dead anchor {link}"


def _target(page: Path, link: str) -> Path:
    target = (page.parent / unquote(link)).resolve() if link else page
    return target / "index.html" if target.is_dir() else target


def _far(pages: dict[Path, _Parsed], root: Path) -> list[Path]:
    """Pages that the home page does not reach within three clicks."""
    reached = {root / "index.html"}
    for _ in range(3):
        reached |= {
            target
            for path in reached & pages.keys()
            for _, link in pages[path].links
            if not urlsplit(link).netloc and (target := _target(path, urlsplit(link).path)) in pages
        }
    return sorted(pages.keys() - reached)
