"""Small tables of facts that hand-written pages put where they need them."""

from lpm.render import names
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
