"""Small tables of facts that hand-written pages put where they need them."""

from collections.abc import Iterable

from lpm.render import names
from lpm.render.access import Right, rights
from lpm.render.sizing import Load, size
from lpm.site.facts import Facts
from lpm.site.page import code, table, text


def shards(facts: Facts) -> str:
    """Every shard, with how many companies still fit. For ``router/index.md``."""
    config, limit = facts.config, facts.config.pipeline.limits.companies_per_shard
    rows: list[list[object]] = [
        [
            f"[{shard}]({shard}.md)",
            code(names.hub_name(shard)),
            len(config.companies_of(shard)),
            limit - len(config.companies_of(shard)),
            "yes" if shard == names.unrouted_shard(config) else "",
        ]
        for shard in config.shards
    ]
    return table(["Shard", "Hub", "Companies", "Room", "Decides about unknown companies"], rows)


def companies(facts: Facts) -> str:
    """Every company with its place. For ``companies.md``."""
    environments = list(facts.config.environments.values())
    rows: list[list[object]] = [
        [
            text(company.id),
            text(company.name),
            f"[{company.shard}](router/{company.shard}.md)",
            ", ".join(map(str, company.partitions)),
            *(code(names.database(environment, company)) for environment in environments),
        ]
        for company in facts.config.companies
    ]
    return table(
        ["Company", "Name", "Shard", "Partitions", *(f"Database in {each.name}" for each in environments)], rows
    )


LOADS = (Load(8, 500), Load(60, 1_000), Load(200, 5_000), Load(1_000, 5_000), Load(1_000, 20_000), Load(1_000, 60_000))


def sizes(facts: Facts) -> str:
    """What some loads take. For ``architecture/scalability.md``."""
    hours = facts.environment(facts.environments[-1]).event_hubs.retention_hours
    rows: list[list[object]] = []
    for load in LOADS:
        need = size(facts.config, hours, load)
        units = f"{need.throughput_units}{'' if need.standard_is_enough else ' (more than Standard has: Premium)'}"
        rows.append(
            [
                f"{load.companies:,}",
                f"{load.changes_per_second:,.0f}",
                need.shards,
                need.partitions_per_hub,
                units,
                f"{need.v2_units_per_job} x {need.shards}",
                f"{need.gigabytes_kept:,} GB",
                f"{need.events_per_second_and_company:,.0f}",
            ]
        )
    header = ["Companies", "Changes/s at the busiest time", "Shards", "Partitions a hub", "Throughput units"]
    return table([*header, "V2 units", f"Kept for {hours} h", "Changes/s a company"], rows)


def access(facts: Facts) -> str:
    """Who may do what, in the first environment of the site. For ``architecture/security.md``."""
    environment = facts.environment(facts.environments[0])
    return of_rights(rights(facts.config, environment))


def of_rights(found: Iterable[Right]) -> str:
    """Rights as a table."""
    rows: list[list[object]] = [[text(right.who), text(right.may), text(right.on), right.because] for right in found]
    return table(["Who", "May", "On", "Because"], rows)
