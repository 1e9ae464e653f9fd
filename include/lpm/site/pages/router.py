"""The routing query and where each output leads, shard by shard."""

from collections.abc import Iterator

from lpm.render import names
from lpm.render.router.project import project_folder
from lpm.render.router.query import COLUMNS, ERROR_POLICY, query
from lpm.site.facts import Facts
from lpm.site.page import Page, code, table, text


def pages(facts: Facts) -> Iterator[Page]:
    """A page for each shard."""
    for shard in facts.config.shards:
        yield Page(f"router/{shard}.md", _shard(facts, shard))


def _shard(facts: Facts, shard: str) -> str:
    config = facts.config
    outputs: list[list[object]] = [
        [code(company.output_name), text(company.id), environment.name, code(place.server), code(place.database)]
        for company in config.companies_of(shard)
        for environment in config.environments.values()
        if (place := environment.databases[company.id])
    ]
    if shard == names.unrouted_shard(config):
        outputs += [
            [
                code(names.UNROUTED_OUTPUT),
                "any other",
                each.name,
                code(each.storage.account),
                code(each.storage.unrouted_container),
            ]
            for each in config.environments.values()
        ]
    folders = ", ".join(code(project_folder(environment, shard)) for environment in config.environments.values())
    return "\n".join(
        [
            f"# Router {shard}\n",
            f"Projects: {folders}. Deployed and started by [deploy_router](../operations/deploy_router.md).\n",
            "## Where each output leads\n",
            table(["Output", "Company", "Environment", "Server or account", "Database or container"], outputs),
            f"Each database output inserts into {code(names.inbox_table(config))} with the columns "
            f"{', '.join(map(code, COLUMNS))}. A value that does not fit a column stops the job (policy "
            f"{code(ERROR_POLICY)}): data cannot bring that about, only a mistake of ours can.\n",
            "## The query\n",
            f"```sql\n{query(config, shard)}```\n",
        ]
    )
