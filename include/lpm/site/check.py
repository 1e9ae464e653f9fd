"""What MkDocs does not see in the built site: links in raw HTML and in diagrams, their anchors, and foreign hosts."""

import os
import re
from collections.abc import Iterator
from functools import cache
from html import unescape
from pathlib import Path
from urllib.parse import unquote, urlsplit

LINKS = ("href", "src", "xlink:href")
# Links of the theme that a reader may follow; nothing is loaded from there.
NAMED_HOSTS = {"squidfunk.github.io"}
AIRFLOW = ("/dags/",)  # the site is served by Airflow, beside these pages of it
LOADING = {"script", "img", "link", "iframe", "source", "use", "image"}


# Three times as quick as html.parser, which was a third of the time of a whole build. MkDocs quotes every attribute.
TAG = re.compile(r"""<([a-zA-Z][\w:-]*)((?:[^<>"']|"[^"]*"|'[^']*')*)>""")
ATTRIBUTE = re.compile(r"""([\w:-]+)\s*=\s*(?:"([^"]*)"|'([^']*)')""")
NO_TAGS = re.compile(r"<!--.*?-->|(?<=>)[^<]*</script>", re.DOTALL)  # what stands there only looks like tags


class _Parsed:
    """The links of a page, what loads something of its own, and the places that can be linked to."""

    def __init__(self, path: Path) -> None:
        self.links: list[tuple[str, str]] = []  # tag, address
        self.places: set[str] = set()
        for tag, attributes in TAG.findall(NO_TAGS.sub("", path.read_text(encoding="utf-8"))):
            found = {name: unescape(double or single) for name, double, single in ATTRIBUTE.findall(attributes)}
            canonical = tag == "link" and found.get("rel") == "canonical"
            self.links += [(tag, found[name]) for name in LINKS if name in found and not canonical]
            self.places |= {found[name] for name in ("id", "name") if found.get(name)}


def faults(site: Path) -> list[str]:
    """Every dead link, dead anchor, request to another host and page that no other links to, in words."""
    root = str(site.resolve())
    pages = {str(path): _Parsed(path) for path in sorted(Path(root).rglob("*.html")) if path.name != "404.html"}
    _exists.cache_clear()
    _is_folder.cache_clear()
    found = [fault for path, page in pages.items() for fault in _faults_of(path, page, pages, root)]
    return found + [f"{path[len(root) + 1 :]}: no page leads here in three clicks" for path in _far(pages, root)]


def _faults_of(path: str, page: _Parsed, pages: dict[str, _Parsed], root: str) -> Iterator[str]:
    name = path[len(root) + 1 :]
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
        if not target.startswith(f"{root}/") or not _exists(target):
            yield f"{name}: dead link {link}"
        elif parts.fragment and target in pages and unquote(parts.fragment) not in pages[target].places:
            yield f"{name}: dead anchor {link}"


# Texts and not Path: a site has thousands of links, and resolving each as a Path was most of the time of a check.
def _target(page: str, link: str) -> str:
    target = os.path.normpath(os.path.join(os.path.dirname(page), unquote(link))) if link else page
    return f"{target}/index.html" if _is_folder(target) else target


@cache
def _exists(path: str) -> bool:
    return os.path.exists(path)


@cache
def _is_folder(path: str) -> bool:
    return os.path.isdir(path)


def _far(pages: dict[str, _Parsed], root: str) -> list[str]:
    """Pages that the home page does not reach within three clicks."""
    reached = {f"{root}/index.html"}
    for _ in range(3):
        reached |= {
            target
            for path in reached & pages.keys()
            for _, link in pages[path].links
            if not urlsplit(link).netloc and (target := _target(path, urlsplit(link).path)) in pages
        }
    return sorted(pages.keys() - reached)
