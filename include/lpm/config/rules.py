"""Rules that need more than one file, or more than one entry of a file."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from lpm.config.errors import Location, nearest
from lpm.config.models import Companies, Environment, Pipeline


@dataclass(frozen=True)
class Fault:
    """A broken rule and the place that has to change."""

    file: str
    location: Location
    message: str
    hint: str | None = None


def unknown(  # noqa: PLR0913  the place, and what its message says
    file: str, location: Location, kind: str, name: str, known: Iterable[str], *, several: bool = False
) -> Fault:
    """A name that nothing has. ``several``: more than one may be given there."""
    known = tuple(known)
    message = f"unknown {kind} {name!r}; expected {'some' if several else 'one'} of {', '.join(known)}"
    return Fault(file, location, message, nearest(name, known))


def listed_twice(file: str, part: str, ids: Sequence[str], message: str) -> Iterator[Fault]:
    """Entries of a list whose id an earlier one has. ``message`` has ``{}`` where the id belongs."""
    for index, each in enumerate(ids):
        if each in ids[:index]:
            yield Fault(file, (part, index, "id"), message.format(each))


def check_together(
    pipeline: Pipeline, companies: Companies, environments: Mapping[str, Environment]
) -> Iterator[Fault]:
    """Every broken rule of the configuration as a whole."""
    yield from _company_names(companies)
    yield from _shards(pipeline, companies)
    for name, environment in environments.items():
        file = f"environments/{name}.yml"
        yield from _databases(file, companies, environment)
        yield from _partitions(companies, environment)
        yield from _environment(file, environment)
    if pipeline.retention.tombstone_days <= pipeline.retention.change_feed_days:
        yield Fault(
            "pipeline.yml",
            ("retention", "tombstone_days"),
            f"must be more than change_feed_days ({pipeline.retention.change_feed_days}): an event that old can still "
            f"arrive (found {pipeline.retention.tombstone_days})",
        )


def _company_names(companies: Companies) -> Iterator[Fault]:
    seen: dict[str, str] = {}
    slugs: dict[str, str] = {}
    for index, company in enumerate(companies.companies):
        # SQL Server ignores trailing blanks and may ignore case: two such ids would be one there.
        folded = company.id.rstrip().casefold()
        if folded in seen:
            yield Fault(
                "companies.yml",
                ("companies", index, "id"),
                f"{company.id!r} and {seen[folded]!r} are the same company, or differ only in case or trailing blanks",
            )
        elif company.slug in slugs:
            yield Fault(
                "companies.yml",
                ("companies", index, "slug"),
                f"{company.slug!r} is also the slug of {slugs[company.slug]!r}; set another one by hand",
            )
        seen.setdefault(folded, company.id)
        slugs.setdefault(company.slug, company.id)


def _shards(pipeline: Pipeline, companies: Companies) -> Iterator[Fault]:
    for index, shard in enumerate(companies.shards):
        if shard in companies.shards[:index]:
            yield Fault("companies.yml", ("shards", index), f"shard {shard!r} is listed twice")
        elif all(company.shard != shard for company in companies.companies):
            yield Fault(
                "companies.yml", ("shards", index), f"shard {shard!r} has no company; its router would route nothing"
            )
    for index, company in enumerate(companies.companies):
        if company.shard not in companies.shards:
            yield unknown("companies.yml", ("companies", index, "shard"), "shard", company.shard, companies.shards)
    most = pipeline.limits.companies_per_shard
    for shard, count in Counter(company.shard for company in companies.companies).items():
        if count > most:
            yield Fault(
                "companies.yml",
                ("companies",),
                f"shard {shard!r} has {count} companies; pipeline.yml allows {most} (limits.companies_per_shard); "
                "add a shard and give it the new companies",
            )


def _databases(file: str, companies: Companies, environment: Environment) -> Iterator[Fault]:
    ids = [company.id for company in companies.companies]
    for company_id in ids:
        if company_id not in environment.databases:
            yield Fault(
                file,
                ("databases",),
                f"company {company_id!r} has no database here",
                nearest(company_id, set(environment.databases) - set(ids)),
            )
    owners: dict[tuple[str, str], str] = {}
    for company_id, database in environment.databases.items():
        if company_id not in ids:
            yield Fault(file, ("databases", company_id), f"unknown company {company_id!r}", nearest(company_id, ids))
        place = (database.server.lower(), database.database.lower())
        if place in owners:
            yield Fault(
                file,
                ("databases", company_id, "database"),
                f"{database.database!r} on {database.server!r} already belongs to company {owners[place]!r}; "
                "two companies never share a database",
            )
        owners.setdefault(place, company_id)


def _partitions(companies: Companies, environment: Environment) -> Iterator[Fault]:
    count = environment.event_hubs.partitions
    for index, company in enumerate(companies.companies):
        for position, partition in enumerate(company.partitions):
            if not 0 <= partition < count:
                yield Fault(
                    "companies.yml",
                    ("companies", index, "partitions"),
                    f"partition {partition} of company {company.id!r} does not exist in environment "
                    f"{environment.name!r}, whose hubs have partitions 0 to {count - 1}",
                )
            if partition in company.partitions[:position]:
                yield Fault(
                    "companies.yml", ("companies", index, "partitions"), f"partition {partition} is listed twice"
                )


def _environment(file: str, environment: Environment) -> Iterator[Fault]:
    hubs = environment.event_hubs
    if hubs.max_throughput_units < hubs.throughput_units:
        yield Fault(
            file,
            ("event_hubs", "max_throughput_units"),
            f"must be at least throughput_units ({hubs.throughput_units}) (found {hubs.max_throughput_units})",
        )
    if environment.kind == "azure" and hubs.kafka_protocol != "SASL_SSL":
        yield Fault(file, ("event_hubs", "kafka_protocol"), "must be SASL_SSL: Event Hubs takes nothing else")
    if environment.kind == "azure" and environment.sql.dialect != "mssql":
        yield Fault(file, ("sql", "dialect"), "must be mssql: the target is Azure SQL")
