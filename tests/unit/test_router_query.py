"""The rendered routing query and its Stream Analytics project."""

import json
from pathlib import Path

import pytest

from lpm.config import Company, Config, load_config
from lpm.contract.envelope import EVENT_FIELDS
from lpm.render import router

ROOT = Path(__file__).resolve().parents[2]


def config_of(*ids: str) -> Config:
    companies = tuple(
        Company(id=company_id, name="x", shard="shard-01", partitions=(0,), slug=f"c{number}")
        for number, company_id in enumerate(ids)
    )
    return load_config().model_copy(update={"companies": companies, "shards": ("shard-01",)})


def test_the_hub_is_read_once_however_many_companies_there_are() -> None:
    text = router.query(config_of(*(f"C-{number}" for number in range(20))), "shard-01")
    assert text.count(f"FROM [{router.INPUT}]") == 1
    assert text.count("INTO [") == 21
    assert len(text) < 10_000


def test_every_field_of_an_event_and_the_partition_are_named() -> None:
    text = router.query(load_config(), "shard-01")
    assert "*" not in text
    for column in (*EVENT_FIELDS, "partition_id"):
        assert f"AS [{column}]" in text
    assert (*EVENT_FIELDS, "partition_id") == router.COLUMNS


def test_only_the_first_shard_decides_what_is_unrouted_and_knows_every_company() -> None:
    config = load_config()
    first, *others = (router.query(config, shard) for shard in config.shards)
    assert "INTO [unrouted]" in first
    assert all("unrouted" not in text for text in others)
    listed = first.split("NOT IN (", 1)[1]
    assert all(
        router.query(config, company.shard).count(f"INTO [{company.output_name}]") == 1 for company in config.companies
    )
    assert all("'" + company.id.replace("'", "''") + "'" in listed for company in config.companies)


def test_an_id_full_of_syntax_stays_one_literal() -> None:
    text = router.query(config_of("a'; DROP TABLE x --", "[b]\\", 'say "c" /*', "🙂"), "shard-01")
    for literal in ("'a''; DROP TABLE x --'", "'[b]\\'", "'say \"c\" /*'", "'🙂'"):
        assert f"WHERE [info_companyid] = {literal}" in text


def test_an_unknown_or_empty_shard_is_refused() -> None:
    config = load_config()
    with pytest.raises(ValueError, match="unknown shard 'nope'; expected one of shard-01, shard-02"):
        router.query(config, "nope")
    with pytest.raises(ValueError, match="shard 'empty' has no company"):
        router.query(config.model_copy(update={"shards": (*config.shards, "empty")}), "empty")


def test_the_outputs_are_the_companies_databases_and_one_container() -> None:
    config = load_config()
    environment = config.environment("devtest")
    *databases, unrouted = router.outputs(config, environment, "shard-01")
    assert [(output.alias, output.database) for output in databases if isinstance(output, router.SqlOutput)] == [
        (company.output_name, environment.databases[company.id].database) for company in config.companies_of("shard-01")
    ]
    assert isinstance(unrouted, router.BlobOutput)
    assert (unrouted.account, unrouted.container) == (environment.storage.account, "unrouted")
    assert all(isinstance(output, router.SqlOutput) for output in router.outputs(config, environment, "shard-02"))


def test_the_query_names_exactly_the_outputs() -> None:
    config = load_config()
    for environment in config.environments.values():
        for shard in config.shards:
            text = router.query(config, shard)
            named = [line.removeprefix("INTO [").removesuffix("]") for line in text.split("\n") if "INTO" in line]
            assert named == [output.alias for output in router.outputs(config, environment, shard)]


def test_a_project_lists_files_that_exist() -> None:
    files = router.render(load_config())
    projects = [path for path in files if path.endswith("/asaproj.json")]
    assert len(projects) == 6
    for path in projects:
        folder = path.removesuffix("asaproj.json")
        project = json.loads(files[path])
        assert folder + project["startFile"] in files
        assert all(folder + entry["filePath"] in files for entry in project["configurations"])
        tests = json.loads(files[f"{folder}test/testConfig.json"])
        for case in tests["TestCases"]:
            for entry in [*case["Inputs"], *case["ExpectedOutputs"]]:
                assert f"{folder}test/{entry['FilePath']}" in files


def test_rendering_twice_gives_the_same_text_and_no_secret() -> None:
    files = router.render(load_config())
    assert files == router.render(load_config())
    assert all(text.endswith("\n") for text in files.values())
    assert not any(word in text for text in files.values() for word in ("Password", "AccountKey", "PolicyKey"))


def test_a_job_has_compatibility_level_and_its_own_identity() -> None:
    job = json.loads(router.render(load_config())["asa/prod/shard-01/JobConfig.json"])
    assert job["CompatibilityLevel"] == "1.2"
    assert job["UseSystemAssignedIdentity"] is True
    assert job["OutputErrorPolicy"] == router.ERROR_POLICY
    assert job["StreamingUnits"] == 10


def test_the_checked_in_projects_are_what_the_config_renders() -> None:
    rendered = router.render(load_config())
    checked_in = {
        path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8")
        for path in (ROOT / "asa").rglob("*")
        if path.is_file()
    }
    assert rendered == checked_in
