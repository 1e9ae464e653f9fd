"""What a consumer of one company's database may do, and where it may go."""

from lpm.clients.target_access import consumer
from lpm.procedures.validation.canaries import Canaries, CaseFailed, Seen
from lpm.render import names
from lpm.render.targets import DIALECTS


def reader_cannot_write(canaries: Canaries) -> Seen:
    """Reading works; each way to change something, or to see the pipeline's own tables, is refused."""
    spelling = DIALECTS[canaries.environment.sql.dialect]

    def quoted(dotted: str) -> str:
        return ".".join(map(spelling.name, dotted.split(".")))

    target, inbox = quoted(names.target_table(canaries.config)), quoted(names.inbox_table(canaries.config))
    company = spelling.name(canaries.config.table.company_column)
    # None of them would touch a row, were it allowed.
    refused = {
        "insert": f"INSERT INTO {target} (lpm_key_hash) SELECT lpm_key_hash FROM {target} WHERE 1 = 0",
        "update": f"UPDATE {target} SET {company} = NULL WHERE 1 = 0",
        "delete": f"DELETE FROM {target} WHERE 1 = 0",
        "feed the inbox": f"INSERT INTO {inbox} (op) SELECT 'delete' WHERE 1 = 0",
        "read the quarantine": f"SELECT count(*) FROM {names.STATE_SCHEMA}.quarantine",
    }
    with consumer(canaries.config, canaries.environment, canaries.first) as somebody:
        if refusal := somebody.refusal(f"SELECT count(*) FROM {target}"):
            raise CaseFailed(f"expected: a consumer reads {names.target_table(canaries.config)}\nseen: {refusal}")
        for what, statement in refused.items():
            if not somebody.refusal(statement):
                raise CaseFailed(f"expected: a consumer may not {what}\nseen: it may: {statement}")
    return Seen((f"reads; refused: {', '.join(refused)}",), {"statements_refused": len(refused)})


def reader_stays_home(canaries: Canaries) -> Seen:
    """The database of another company refuses the consumer."""
    with consumer(canaries.config, canaries.environment, canaries.first) as somebody:
        refusal = somebody.refusal_elsewhere(canaries.second)
    if not refusal:
        raise CaseFailed(
            f"expected: the consumer of {canaries.first.id} is refused by the database of {canaries.second.id}\n"
            "seen: it reads the table"
        )
    return Seen((f"the database of {canaries.second.id} says: {refusal.partition(chr(10))[0]}",))
