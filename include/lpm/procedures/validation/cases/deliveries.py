"""What delivery may do to events: bring one twice, bring it late, bring many at once; and how long it takes."""

from lpm.contract.sequence import Op, Rank
from lpm.procedures.percentile import percentile
from lpm.procedures.validation.canaries import Canaries, CaseFailed, Seen

MARKER = 1  # number of the row that is changed after events were sent by hand: its version comes after them


def duplicate_delivery(canaries: Canaries) -> Seen:
    """The event of a row is sent twice more; the row stays as it is."""
    company, database = canaries.first, canaries.database(canaries.first)
    canaries.insert(company, 0, 2)
    canaries.await_equal()
    key_hash = canaries.key_hash()
    before = database.states([key_hash])[key_hash]
    canaries.send(company, 2 * [canaries.event(company, key_hash, before.version)])
    _await_what_was_sent(canaries)
    after = database.states([key_hash])[key_hash]
    if (after.version, after.row_hash) != (before.version, before.row_hash):
        raise CaseFailed(f"expected: key {key_hash} as it was: {before}\nseen: {after}")
    return Seen(("the event came three times; the row is there once, as it was",))


def late_event(canaries: Canaries) -> Seen:
    """An older state and an older delete of a row come after its newer state; the newer state stays."""
    company, database = canaries.first, canaries.database(canaries.first)
    canaries.insert(company, 0, 2)
    canaries.await_equal()
    key_hash = canaries.key_hash()
    old = database.states([key_hash])[key_hash]
    canaries.update(1, [0])
    canaries.await_equal()
    newest = database.states([key_hash])[key_hash]
    upsert = canaries.event(company, key_hash, old.version)
    delete = {
        **upsert,
        "op": str(Op.DELETE),
        "rank": int(Rank.DELETE),
        "event_id": f"{old.version}-{Rank.DELETE}-{key_hash}",
        "payload": None,
        "row_hash": None,
    }
    canaries.send(company, [upsert, delete])
    _await_what_was_sent(canaries)
    found = database.states([key_hash]).get(key_hash)
    if found != newest:
        raise CaseFailed(f"expected: key {key_hash} as it was: {newest}\nseen: {found}")
    return Seen((f"events of version {old.version} came after version {newest.version} and changed nothing",))


def burst(canaries: Canaries) -> Seen:
    """All rows of one large commit arrive in time."""
    rows = canaries.plan.limits.burst_rows
    canaries.insert(canaries.first, 0, rows)
    canaries.await_equal()
    return _in_time(canaries, rows, {"rows": rows})


def latency_objective(canaries: Canaries) -> Seen:
    """Commits of single rows are visible in time."""
    commits = canaries.plan.limits.latency_commits
    for number in range(commits):
        canaries.insert(canaries.first, number)
    canaries.await_equal()
    return _in_time(canaries, commits, {"commits": commits})


def _await_what_was_sent(canaries: Canaries) -> None:
    """Wait until what was sent by hand has been applied, or refused: a later version of the source has arrived."""
    canaries.update(9, [MARKER])
    canaries.await_version(canaries.first)
    canaries.await_equal()


def _in_time(canaries: Canaries, rows: int, measured: dict[str, float]) -> Seen:
    latencies = canaries.latencies(canaries.first)
    if len(latencies) != rows:
        raise CaseFailed(f"expected: {rows} rows with the time of their commit\nseen: {len(latencies)}")
    p50, p95, worst = (percentile(latencies, share) for share in (0.5, 0.95, 1.0))
    objective = canaries.config.pipeline.objectives.latency_p95_seconds
    told = f"commit to visible: p50 {p50:.1f} s, p95 {p95:.1f} s, longest {worst:.1f} s"
    if p95 > objective:
        raise CaseFailed(
            f"expected: 95 of 100 rows visible within {objective:g} s (objectives.latency_p95_seconds)\nseen: {told}"
        )
    numbers = {"p50_seconds": p50, "p95_seconds": p95, "max_seconds": worst, "objective_seconds": objective}
    return Seen((f"{rows} rows; {told}; the objective is {objective:g} s",), {**measured, **numbers})
