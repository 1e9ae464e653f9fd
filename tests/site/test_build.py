"""The site is complete, each of its links leads somewhere, and it says what runs."""

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from lpm.config.everything import FILES
from lpm.local import paths
from lpm.render import access, names
from lpm.site import build, check
from lpm.site.facts import Facts
from lpm.site.navigation import navigation
from lpm.site.pages import configuration_reference

HOME_LIMIT = 300_000  # bytes


def text_of(site: Path, page: str) -> str:
    return (site / page).read_text(encoding="utf-8")


@pytest.fixture
def copy(site: Path, tmp_path: Path) -> Path:
    """The built site, for a test that breaks it."""
    return Path(shutil.copytree(site, tmp_path / "site"))


def test_the_built_site_has_no_fault(site: Path) -> None:
    assert check.faults(site) == []


@pytest.mark.parametrize(
    ("planted", "said"),
    [
        ('<a href="nowhere.html">', "dead link nowhere.html"),
        ('<a href="companies.html#nobody">', "dead anchor companies.html#nobody"),
        ('<svg><a xlink:href="../outside.html"></a></svg>', "dead link ../outside.html"),
        ('<script src="https://cdn.example.com/x.js"></script>', "script to another host"),
        ('<img src="//cdn.example.com/x.png">', "img to another host"),
        ('<a href="https://example.com/">', "a to another host"),
        ('<a href="/runbooks/index.html">', "begins at the root of the host"),
    ],
)
def test_a_planted_fault_is_found_and_named(copy: Path, planted: str, said: str) -> None:
    page = copy / "index.html"
    page.write_text(page.read_text(encoding="utf-8").replace("</article>", f"{planted}</article>"), encoding="utf-8")
    [fault] = check.faults(copy)
    assert fault.startswith("index.html: ")
    assert said in fault


def test_a_page_that_nobody_finds_is_a_fault(copy: Path) -> None:
    (copy / "hidden.html").write_text("<html></html>", encoding="utf-8")
    assert check.faults(copy) == ["hidden.html: no page leads here in three clicks"]


def test_a_site_with_a_fault_leaves_the_last_one_in_place(
    facts: Facts, site: Path, tmp_path: Path, monkeypatch
) -> None:
    last = tmp_path / "site"
    last.mkdir()
    (last / "index.html").write_text("the last good one")
    broken = Path(shutil.copytree(build.DOCS, tmp_path / "docs"))
    (broken / "glossary.md").write_text("# Glossary\n\n[nowhere](nowhere.md)\n")
    monkeypatch.setattr(build, "DOCS", broken)
    with pytest.raises(build.SiteError, match=r"nowhere\.md"):
        build.build_site(facts, tmp_path)
    assert (last / "index.html").read_text() == "the last good one"


def test_a_page_made_twice_is_refused(facts: Facts, tmp_path: Path, monkeypatch) -> None:
    twice = Path(shutil.copytree(build.DOCS, tmp_path / "docs"))
    (twice / "reference").mkdir(exist_ok=True)
    (twice / "reference" / "dags.md").write_text("# Mine\n")
    monkeypatch.setattr(build, "DOCS", twice)
    with pytest.raises(build.SiteError, match=r"reference/dags\.md is made twice"):
        build.render_pages(facts)


def test_every_page_has_its_place_in_the_navigation(facts: Facts) -> None:
    pages = build.render_pages(facts)
    placed = re.findall(r'"([^"]+\.md)"', json.dumps(navigation(pages)))
    assert sorted(placed) == [page.path for page in pages]


def test_two_builds_say_the_same(facts: Facts) -> None:
    assert build.render_pages(facts) == build.render_pages(facts)


def test_the_home_page_is_light(site: Path) -> None:
    loaded = {
        site / "index.html",
        *(site / link for link in re.findall(r'(?:src|href)="([^"#]+\.(?:css|js))"', text_of(site, "index.html"))),
    }
    assert sum(path.stat().st_size for path in loaded) < 2 * HOME_LIMIT, (
        "before the server packs it; the browser's test has the limit"
    )


def test_no_generated_page_is_kept_in_the_repository(facts: Facts) -> None:
    written = {path.relative_to(build.DOCS).as_posix() for path in build.DOCS.rglob("*.md")}
    generated = {page.path for page in build.render_pages(facts)} - written
    assert {"environments/prod.md", "reference/dags.md", "router/shard-01.md"} <= generated


@pytest.mark.parametrize("name", ["devtest", "local", "prod"])
def test_the_page_of_an_environment_has_every_name_that_is_deployed(facts: Facts, site: Path, name: str) -> None:
    page = text_of(site, f"environments/{name}.html")
    infra = paths.checkout() / "include" / "infra" / name
    for kind in ("foundation", "router"):
        parameters = json.loads((infra / f"{kind}.parameters.json").read_text())["parameters"]
        named = {key: value["value"] for key, value in parameters.items() if isinstance(value["value"], str)}
        for key in ("eventHubsNamespace", "storageAccount", "unroutedContainer"):
            assert key not in named or named[key] in page, f"{key} {named[key]}"
    environment = facts.config.environment(name)
    for shard in facts.config.shards:
        assert names.hub_name(shard) in page
        assert names.consumer_group(shard) in page
        assert names.streaming_job_name(environment, shard) in page
    for place in environment.databases.values():
        assert place.database in page


ROLES = {"eventHubsDataSender": "Event Hubs Data Sender", "eventHubsDataReceiver": "Event Hubs Data Receiver"}
ROLES |= {"storageBlobDataContributor": "Storage Blob Data Contributor"}
ROLES |= {"storageBlobDataReader": "Storage Blob Data Reader"}


@pytest.mark.parametrize("name", ["devtest", "local", "prod"])
def test_the_rights_on_the_page_are_those_of_the_templates(facts: Facts, name: str) -> None:
    infra = paths.checkout() / "include" / "infra" / name
    assigned = [
        ROLES[re.search(r"variables\('(\w+)'\)", resource["properties"]["roleDefinitionId"])[1]]
        for kind in ("foundation", "router")
        for resource in json.loads((infra / f"{kind}.template.json").read_text())["resources"]
        if resource["type"] == "Microsoft.Authorization/roleAssignments"
    ]
    told = [
        right.may.removeprefix("Azure ")
        for right in access.rights(facts.config, facts.config.environment(name))
        if right.may.removeprefix("Azure ") in ROLES.values()
    ]
    assert sorted(told) == sorted(assigned)


def test_every_key_of_the_configuration_is_explained() -> None:
    for file, model in FILES.items():
        for key in configuration_reference.keys(model.model_json_schema()):
            assert key.meaning or (file, key.name) == ("environments/<name>.yml", "name"), f"{file}: {key.name}"


def test_the_reference_of_commands_has_every_command(site: Path) -> None:
    page = text_of(site, "reference/commands.html")
    for command in ("lpm config check", "lpm render", "lpm site build", "lpm local up", "lpm local logs", "lpm demo"):
        assert command in page


def test_without_benchmarks_the_page_says_so(facts: Facts) -> None:
    [page] = [
        page for page in build.render_pages(replace(facts, benchmarks=None)) if page.path == "reference/benchmarks.md"
    ]
    assert "was not there when this site was built" in page.text


def test_the_page_of_benchmarks_tells_what_the_soak_has_seen(facts: Facts) -> None:
    kills = {"kill 1 of kafka": {"recovery_seconds": 4.2}, "kill 9 of kafka": {"recovery_seconds": 31.6}}
    counts = {"rounds": 7, "comparisons": 56, "in_flight": 3, "false_alarms": 1}
    counts |= {"faults": {"stale": 2}, "found": {"stale": 2}, "repaired": {"stale": 1}}
    soak = {"kills": json.dumps(kills), "rounds": json.dumps(counts)}
    pages = {page.path: page.text for page in build.render_pages(replace(facts, soak=soak))}
    page = pages["reference/benchmarks.md"]
    assert "After each of 2 kills" in page
    assert "| kafka | 2 | 32 s |" in page
    assert "**1 false alarms**" in page
    assert "| stale | 2 | 2 | 1 |" in page


def test_hostile_names_are_text(facts: Facts) -> None:
    company = facts.config.companies[0].model_copy(update={"name": "<script>alert(1)</script> | **x**"})
    config = facts.config.model_copy(update={"companies": (company, *facts.config.companies[1:])})
    pages = {page.path: page.text for page in build.render_pages(replace(facts, config=config))}
    assert "<script>" not in pages["companies.md"]
    assert r"&#124; \*\*x\*\*" in pages["companies.md"]
