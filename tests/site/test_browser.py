"""The site in a real browser: as an operator, with a keyboard, on a phone, on paper."""

from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe

PAGES = (
    "index.html",
    "start/operator.html",
    "troubleshooting.html",
    "runbooks/watermark-stuck.html",
    "operations/control.html",
    "architecture/overview.html",
    "environments/prod.html",
    "reference/dags.html",
    "reference/configuration.html",
)
HOME_LIMIT = 300_000  # bytes over the wire, as compressed as a server makes them


def test_nothing_is_asked_of_another_host(page: Any, address: str) -> None:
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    for path in PAGES:
        page.goto(address + path, wait_until="networkidle")
    assert [url for url in asked if not url.startswith((address, "data:"))] == []


def test_the_console_is_silent(page: Any, address: str) -> None:
    said: list[str] = []
    page.on("pageerror", lambda error: said.append(str(error)))
    for path in PAGES:
        page.goto(address + path, wait_until="networkidle")
    assert said == []


def test_the_home_page_is_light(page: Any, address: str, site: Path) -> None:
    import gzip

    loaded: dict[str, bytes] = {}
    page.on("response", lambda response: loaded.setdefault(response.url, response.body() if response.ok else b""))
    page.goto(address, wait_until="networkidle")
    assert sum(len(gzip.compress(body)) for body in loaded.values()) < HOME_LIMIT


def test_search_finds_a_runbook_by_what_people_say(page: Any, address: str) -> None:
    page.goto(address, wait_until="networkidle")
    page.keyboard.press("f")
    page.keyboard.type("watermark does not move")
    page.wait_for_selector(".md-search-result__item a")
    found = page.locator(".md-search-result__item a").evaluate_all("links => links.map(link => link.href)")
    assert any("watermark" in link for link in found)


def test_a_part_of_the_diagram_leads_to_its_page(page: Any, address: str) -> None:
    page.goto(address + "architecture/overview.html", wait_until="networkidle")
    page.locator("svg.diagram a", has_text="Stream Analytics").first.click()
    page.wait_for_url("**/router/index.html")


def test_a_diagram_is_reached_with_the_keyboard(page: Any, address: str) -> None:
    page.goto(address + "operations/reconcile.html", wait_until="networkidle")
    node = page.locator("svg.diagram a").first
    node.focus()
    assert node.evaluate("node => node === document.activeElement")
    page.keyboard.press("Enter")
    page.wait_for_url("**/operations/reconcile.html#task-*")


def test_diagrams_are_readable_in_light_and_dark(page: Any, address: str) -> None:
    page.goto(address + "architecture/overview.html", wait_until="networkidle")
    for scheme in ("default", "slate"):
        page.evaluate("scheme => document.body.setAttribute('data-md-color-scheme', scheme)", scheme)
        text, shape = (
            page.locator(f"svg.diagram g.node {kind}").first.evaluate("node => getComputedStyle(node).fill")
            for kind in ("text", "path")
        )
        assert _contrast(text, shape) >= 4.5, f"{scheme}: {text} on {shape}"


@pytest.mark.parametrize("path", PAGES)
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_no_serious_barrier(browser: Any, address: str, path: str, scheme: str) -> None:
    context = browser.new_context(viewport={"width": 1440, "height": 900}, color_scheme=scheme)
    page = context.new_page()
    page.goto(address + path, wait_until="networkidle")
    found = [
        f"{one['id']}: {node['target']} {node['failureSummary']}"
        for one in Axe().run(page).response["violations"]
        if one["impact"] in ("serious", "critical")
        for node in one["nodes"]
    ]
    context.close()
    assert found == []


@pytest.mark.parametrize("path", PAGES)
def test_it_fits_a_phone(browser: Any, address: str, path: str) -> None:
    context = browser.new_context(viewport={"width": 390, "height": 844})
    page = context.new_page()
    page.goto(address + path, wait_until="networkidle")
    width = page.evaluate("document.documentElement.scrollWidth")
    context.close()
    assert width <= 390, "the page itself scrolls to the side; wide tables scroll within it"


def test_a_command_can_be_copied(browser: Any, address: str) -> None:
    context = browser.new_context(permissions=["clipboard-read", "clipboard-write"])
    page = context.new_page()
    page.goto(address + "runbooks/watermark-stuck.html", wait_until="networkidle")
    block = page.locator("div.highlight").first
    shown = block.locator("code").text_content()
    block.hover()
    block.locator("button, a.md-code__button").first.click()
    copied = page.evaluate("navigator.clipboard.readText()")
    context.close()
    assert copied.strip()
    assert copied.strip() == shown.strip()


def test_a_page_can_be_printed(page: Any, address: str) -> None:
    page.goto(address + "runbooks/watermark-stuck.html", wait_until="networkidle")
    page.emulate_media(media="print")
    assert page.locator(".md-header").is_hidden()
    assert page.locator("article h1").is_visible()
    assert page.pdf().startswith(b"%PDF-")


def _contrast(one: str, other: str) -> float:
    """The contrast of two opaque CSS colours, as WCAG defines it."""
    import re

    def luminance(colour: str) -> float:
        parts = [float(part) for part in re.findall(r"[\d.]+", colour)]
        opacity = parts[3] if len(parts) > 3 else 1.0
        assert opacity > 0.5, f"{colour} is hardly there"
        linear = [c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in (p / 255 for p in parts[:3])]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)
