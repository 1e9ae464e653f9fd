"""The strict, checked build of the whole site, beside MkDocs building as many plain pages with the same theme.

Goal: at most 3 s more. Both are processes of their own; the facts of the DAG files are in the cache, as they are in
every build but the first after a change.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from time import perf_counter

import yaml
from bench.result import Result, result

ROOT = Path(__file__).resolve().parents[1]
REPETITIONS = 5
COMMAND = "python -m bench site"
PARAGRAPH = "A line of plain text that is as long as those of the pages of the real site, and says nothing. " * 3


def run() -> list[Result]:
    """Seconds of our build and of the plain one, in turns."""
    ours = [sys.executable, "-m", "lpm.cli", "site", "build"]
    _seconds(ours)  # fills the cache
    pages = len(list((ROOT / "build" / "site" / "site").rglob("*.html")))
    with tempfile.TemporaryDirectory(prefix="lpm-bench-site-") as name:
        plain = _plain(Path(name), pages)
        measured = [(_seconds(ours), _seconds(plain)) for _ in range(REPETITIONS)]
    values, floors = [ours for ours, _ in measured], [plain for _, plain in measured]
    what = f"site: strict build of {pages} pages with diagrams and link check"
    return [result(what, "s (lower is better; goal: at most 3 s above the floor)", values, floors, COMMAND)]


def _plain(folder: Path, pages: int) -> list[str]:
    """The command that builds as many plain pages; their text is as long as ours on average."""
    source = ROOT / "build" / "site" / "work" / "pages"
    size = sum(path.stat().st_size for path in source.rglob("*.md")) // pages
    (folder / "docs").mkdir()
    for number in range(pages):
        name = f"page-{number}.md" if number else "index.md"
        text = "\n\n".join([f"# Page {number}", *[PARAGRAPH] * (size // len(PARAGRAPH))])
        (folder / "docs" / name).write_text(text)
    settings = yaml.safe_load((ROOT / "mkdocs.yml").read_text())
    settings |= {"docs_dir": "docs", "site_dir": "site", "extra_css": [], "extra_javascript": []}
    (folder / "mkdocs.yml").write_text(json.dumps(settings))
    return [sys.executable, "-m", "mkdocs", "build", "--config-file", str(folder / "mkdocs.yml")]


def _seconds(command: list[str]) -> float:
    begin = perf_counter()
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    return perf_counter() - begin
