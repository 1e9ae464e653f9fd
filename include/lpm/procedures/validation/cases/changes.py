"""What the source does to rows arrives: insert, update, delete, a move to another company."""

from lpm.procedures.validation.canaries import Canaries, CaseFailed, Seen


def insert(canaries: Canaries) -> Seen:
    """A new row of each canary arrives."""
    canaries.insert(canaries.first, 0)
    canaries.insert(canaries.second, 1)
    canaries.await_equal()
    for company in (canaries.first, canaries.second):
        if (rows := len(canaries.states(company))) != 1:
            raise CaseFailed(f"expected: 1 row in the database of {company.id}\nseen: {rows}")
    slowest = max(*canaries.latencies(canaries.first), *canaries.latencies(canaries.second))
    return Seen(("each canary's database has its own row, with every value",), {"max_seconds": slowest})


def update(canaries: Canaries) -> Seen:
    """The last of two updates is what the database has."""
    canaries.insert(canaries.first)
    canaries.await_equal()
    [(key_hash, before)] = canaries.states(canaries.first).items()
    canaries.update(1)
    canaries.update(2)
    canaries.await_equal()
    after = canaries.states(canaries.first)[key_hash]
    if after.version <= before.version or after.row_hash == before.row_hash:
        raise CaseFailed(
            f"expected: a state of key {key_hash} that is newer than version {before.version}\nseen: {after}"
        )
    line = f"version {before.version} became version {after.version}, with every value"
    return Seen((line,), {"max_seconds": max(canaries.latencies(canaries.first))})


def delete(canaries: Canaries) -> Seen:
    """A deleted row leaves, and the other row stays as it is."""
    canaries.insert(canaries.first, 0, 2)
    canaries.await_equal()
    kept = canaries.key_hash(1)
    before = canaries.states(canaries.first)[kept]
    canaries.delete([0])
    canaries.await_equal()
    after = canaries.states(canaries.first)
    if list(after) != [kept] or after[kept] != before:
        raise CaseFailed(f"expected: only key {kept}, as it was: {before}\nseen: {dict(after)}")
    return Seen(("the deleted row is gone, the other was not touched",))


def company_move(canaries: Canaries) -> Seen:
    """A row leaves one company's database and arrives in another's, on another shard."""
    canaries.insert(canaries.first)
    canaries.await_equal()
    canaries.write(canaries.statements.move(canaries.second))
    canaries.await_equal()
    places = [len(canaries.states(company)) for company in (canaries.first, canaries.second)]
    if places != [0, 1]:
        raise CaseFailed(f"expected: no row in {canaries.first.id}, one in {canaries.second.id}\nseen: {places}")
    line = (
        f"the row left {canaries.first.id} ({canaries.first.shard}) for {canaries.second.id} ({canaries.second.shard})"
    )
    return Seen((line,), {"max_seconds": max(canaries.latencies(canaries.second))})
