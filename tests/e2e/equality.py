"""Whether the companies have what the source has."""

from lpm.local.demo.pipeline import Pipeline


def assert_equal(pipeline: Pipeline) -> None:
    """Every value of every row of every company is what the source has; a canary has no rows."""
    canaries = {company.id for company in pipeline.config.canaries}
    for verdict in pipeline.catch_up():
        assert verdict.differences == (), verdict.company
        assert (verdict.rows > 0) is (verdict.company not in canaries), verdict.company
    for company, database in pipeline.databases.items():
        assert database.foreign_rows() == 0, company.id
        assert database.quarantine_counts() == {}, company.id
        assert database.inbox_count() == 0, company.id
