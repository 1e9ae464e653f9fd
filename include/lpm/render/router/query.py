"""The routing query: reads the hub once and sends each event to the output of its company."""

from typing import Literal

from lpm.config import Config
from lpm.contract.envelope import EVENT_FIELDS, NUMBER_FIELDS
from lpm.render.names import UNROUTED_OUTPUT, unrouted_shard

INPUT = "hub"  # alias of the only input
STEP = "routed"  # name of the WITH step: naming the input in every SELECT fails at the sixth reader
COMPANY = "info_companyid"
# What every output receives, in this order; the inbox tables have a column for each.
COLUMNS = (*EVENT_FIELDS, "partition_id")
# Concerns values that do not fit a column, nothing else. Data cannot bring one about: TRY_CAST and wide nullable text
# columns take everything. Only a mistake of ours can, such as an inbox without a column. Stop then stalls the shard,
# which is seen and mended; Drop would lose every event of a company in silence.
ERROR_POLICY: Literal["Drop", "Stop"] = "Stop"

# The trailing remark is about `=`: whether Stream Analytics compares text by case, and with trailing blanks, is not
# documented. The configuration refuses two companies that differ only in that, and the target's trigger compares
# exactly and quarantines what is not its own, so either answer routes every configured company correctly.
_HEADER = """\
-- Routes the events of shard {shard}. Rendered by `lpm render` from include/config: do not edit.
-- No TIMESTAMP BY: nothing is late, early or out of order, so nothing is dropped. Compatibility level 1.2.
-- Ids that differ only in case or trailing blanks are refused by the configuration; each target checks its id exactly.
"""


def query(config: Config, shard: str) -> str:
    """The text of the shard's ``.asaql``, the same in every environment.

    Raises:
        ValueError: ``shard`` is not configured or has nothing to route.
    """
    if shard not in config.shards:
        raise ValueError(f"unknown shard {shard!r}; expected one of {', '.join(config.shards)}")
    branches = [
        _branch(company.output_name, f"[{COMPANY}] = {text_literal(company.id)}")
        for company in config.companies_of(shard)
    ]
    if shard == unrouted_shard(config):
        # All companies of all shards: else every shard would reject the others' events. NULL is neither = nor NOT IN.
        known = ",\n    ".join(text_literal(company.id) for company in config.companies)
        branches.append(_branch(UNROUTED_OUTPUT, f"[{COMPANY}] IS NULL OR [{COMPANY}] NOT IN (\n    {known}\n)"))
    if not branches:
        raise ValueError(f"shard {shard!r} has no company; remove it from companies.yml or give it one")
    return "\n".join([_HEADER.format(shard=shard) + _step(), *branches])


def text_literal(text: str) -> str:
    """A Stream Analytics string literal. Quotes are doubled; backslash, bracket and comment sign mean nothing in it.

    Control characters never get here: the configuration refuses a company id that has one.
    """
    return "'" + text.replace("'", "''") + "'"


def _step() -> str:
    # TRY_CAST gives NULL where CAST would stop the job.
    fields = [
        f"TRY_CAST([{field}] AS {'bigint' if field in NUMBER_FIELDS else 'nvarchar(max)'}) AS [{field}]"
        for field in EVENT_FIELDS
    ]
    columns = ",\n        ".join([*fields, "[PartitionId] AS [partition_id]"])
    return f"WITH [{STEP}] AS (\n    SELECT\n        {columns}\n    FROM [{INPUT}]\n)"


def _branch(output: str, condition: str) -> str:
    columns = ", ".join(f"[{column}]" for column in COLUMNS)
    return f"SELECT {columns}\nINTO [{output}]\nFROM [{STEP}]\nWHERE {condition}\n"
