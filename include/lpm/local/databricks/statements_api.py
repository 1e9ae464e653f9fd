"""The Statement Execution API 2.0 and the SQL warehouse it runs on."""

import asyncio
import re
from typing import Any, Literal

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field

from lpm.local.databricks.errors import ApiError, beyond_stand_in, invalid
from lpm.local.databricks.statements import Parameter, Statement, Warehouse

POLL_SECONDS = 0.01  # how often a waiting call looks whether its statement has ended


class NewStatement(BaseModel):
    """Body of the call that executes a statement."""

    model_config = ConfigDict(extra="forbid")
    statement: str = Field(min_length=1, max_length=16 * 1024 * 1024)
    warehouse_id: str
    catalog: str | None = None
    db_schema: str | None = Field(default=None, alias="schema")
    parameters: list[Parameter] = []
    wait_timeout: str = "10s"
    on_wait_timeout: Literal["CONTINUE", "CANCEL"] = "CONTINUE"
    disposition: Literal["INLINE", "EXTERNAL_LINKS"] = "INLINE"
    format: Literal["JSON_ARRAY", "ARROW_STREAM", "CSV"] = "JSON_ARRAY"
    row_limit: int | None = Field(default=None, ge=1)
    byte_limit: int | None = None
    query_tags: list[dict[str, str | None]] = []

    @property
    def wait_seconds(self) -> int:
        """How long the call waits.

        Raises:
            ApiError: neither 0 nor 5 to 50 seconds.
        """
        match = re.fullmatch(r"(\d+)s", self.wait_timeout)
        if not match or not (int(match[1]) == 0 or 5 <= int(match[1]) <= 50):
            raise invalid(f"wait_timeout {self.wait_timeout!r}: expected 0s, or 5s to 50s")
        return int(match[1])


def routes(warehouse_id: str, warehouse: Warehouse) -> APIRouter:
    """Statements and warehouses."""
    router = APIRouter(prefix="/api/2.0/sql")
    about = {
        "id": warehouse_id,
        "name": warehouse_id,
        "cluster_size": "2X-Small",
        "warehouse_type": "PRO",
        "enable_serverless_compute": False,
        "num_clusters": 1,
    }

    @router.get("/warehouses")
    async def warehouses() -> dict[str, Any]:
        return {"warehouses": [{**about, "state": warehouse.state}]}

    @router.get("/warehouses/{identifier}")
    async def get_warehouse(identifier: str) -> dict[str, Any]:
        _require(identifier, warehouse_id)
        return {**about, "state": warehouse.state}

    @router.post("/statements")
    @router.post("/statements/", include_in_schema=False)
    async def execute(body: NewStatement) -> dict[str, Any]:
        _require(body.warehouse_id, warehouse_id)
        if body.disposition != "INLINE" or body.format != "JSON_ARRAY":
            raise beyond_stand_in(f"disposition {body.disposition} with format {body.format}")
        if body.byte_limit is not None:
            raise beyond_stand_in("byte_limit")
        if body.catalog not in (None, "spark_catalog"):
            raise beyond_stand_in(f"catalog {body.catalog} (only spark_catalog)")
        seconds = body.wait_seconds
        statement = warehouse.submit(body.statement, body.parameters, body.db_schema, body.row_limit)
        if seconds and not await _ended(statement, seconds) and body.on_wait_timeout == "CANCEL":
            warehouse.cancel(statement)
        return _answer(statement)

    @router.get("/statements/{statement_id}")
    async def get_statement(statement_id: str) -> dict[str, Any]:
        return _answer(warehouse.statement(statement_id))

    @router.get("/statements/{statement_id}/result/chunks/{index}")
    async def get_chunk(statement_id: str, index: int) -> dict[str, Any]:
        statement = warehouse.statement(statement_id)
        if statement.state != "SUCCEEDED" or not 0 <= index < max(len(statement.chunks), 1):
            raise ApiError(404, "NOT_FOUND", f"The statement {statement_id} has no chunk {index}.")
        return _chunk(statement, index)

    @router.post("/statements/{statement_id}/cancel")
    async def cancel(statement_id: str) -> dict[str, Any]:
        warehouse.cancel(warehouse.statement(statement_id))
        return {}

    return router


def _require(identifier: str, known: str) -> None:
    if identifier != known:
        raise ApiError(
            404, "RESOURCE_DOES_NOT_EXIST", f"SQL warehouse {identifier} does not exist; there is {known!r}."
        )


async def _ended(statement: Statement, seconds: float) -> bool:
    """Wait for the end of a statement without holding a thread."""
    deadline = asyncio.get_running_loop().time() + seconds
    while not statement.ended.is_set() and asyncio.get_running_loop().time() < deadline:
        await asyncio.sleep(POLL_SECONDS)
    return statement.ended.is_set()


def _answer(statement: Statement) -> dict[str, Any]:
    status: dict[str, Any] = {"state": statement.state}
    if statement.state == "FAILED":
        status |= {"error": statement.error}
        if statement.sql_state:
            status["sql_state"] = statement.sql_state
    answer = {"statement_id": statement.id, "status": status}
    if statement.state != "SUCCEEDED":
        return answer
    return {**answer, "manifest": _manifest(statement), "result": _chunk(statement, 0)}


def _manifest(statement: Statement) -> dict[str, Any]:
    chunks = [
        {"chunk_index": index, "row_offset": _offset(statement, index), "row_count": len(rows)}
        for index, rows in enumerate(statement.chunks)
    ]
    return {
        "format": "JSON_ARRAY",
        "schema": {"column_count": len(statement.columns), "columns": statement.columns},
        "total_chunk_count": len(chunks),
        "chunks": chunks,
        "total_row_count": sum(map(len, statement.chunks)),
        "truncated": statement.truncated,
    }


def _chunk(statement: Statement, index: int) -> dict[str, Any]:
    if not statement.chunks:
        return {}
    rows = statement.chunks[index]
    chunk = {"chunk_index": index, "row_offset": _offset(statement, index), "row_count": len(rows), "data_array": rows}
    if index + 1 < len(statement.chunks):
        link = f"/api/2.0/sql/statements/{statement.id}/result/chunks/{index + 1}"
        chunk |= {"next_chunk_index": index + 1, "next_chunk_internal_link": link}
    return chunk


def _offset(statement: Statement, index: int) -> int:
    return sum(map(len, statement.chunks[:index]))
