"""What MkDocs does not see in the built site: links in raw HTML and in diagrams, their anchors, and foreign hosts."""

import re
from collections.abc import Container, Iterator, Mapping
from html import unescape
from pathlib import Path
from posixpath import dirname, join, normpath
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
    files = {path.relative_to(site).as_posix() for path in site.rglob("*") if path.is_file()}
    pages = {name: _Parsed(site / name) for name in sorted(files) if name.endswith(".html") and name != "404.html"}
    found = [fault for name, page in pages.items() for fault in _faults_of(name, page, pages, files)]
    return found + [f"{name}: no page leads here in three clicks" for name in _far(pages, files)]


def _faults_of(name: str, page: _Parsed, pages: Mapping[str, _Parsed], files: Container[str]) -> Iterator[str]:
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
        target = _target(name, parts.path, files)
        if target not in files:
            yield f"{name}: dead link {link}"
        elif parts.fragment and target in pages and unquote(parts.fragment) not in pages[target].places:
            yield f"{name}: dead anchor {link}"


def _target(page: str, link: str, files: Container[str]) -> str:
    """What a link of a page leads to, below the site; a folder means its index."""
    target = normpath(join(dirname(page), unquote(link))) if link else page
    return target if target in files else normpath(join(target, "index.html"))


def _far(pages: Mapping[str, _Parsed], files: Container[str]) -> list[str]:
    """Pages that the home page does not reach within three clicks."""
    leads = {
        name: {_target(name, urlsplit(link).path, files) for _, link in page.links if not urlsplit(link).netloc}
        for name, page in pages.items()
    }
    reached = {"index.html"}
    for _ in range(3):
        reached |= {target for name in reached & pages.keys() for target in leads[name]}
    return sorted(pages.keys() - reached)
