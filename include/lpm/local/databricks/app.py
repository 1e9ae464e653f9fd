"""The stand-in as one web application."""

import contextlib
import secrets
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.middleware.base import RequestResponseEndpoint

from lpm.local import spark
from lpm.local.databricks import errors, faults, jobs_api, secret_scopes, statements_api, volumes
from lpm.local.databricks.runs import RunFolders
from lpm.local.databricks.scheduler import Pace, Scheduler
from lpm.local.databricks.statements import Warehouse

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

# The JVM of statements is at rest most of the time and shares the machine with everything else. Measured over 30 small
# commits on two busy processors: the quick compiler alone answers in half the time and needs 110 MB less. Garbage goes
# every few minutes, and what it took goes back to the machine.
SMALL_JAVA = (
    spark.QUICK_COMPILER,
    "-XX:MaxNewSize=160m",
    "-XX:MinHeapFreeRatio=10",
    "-XX:MaxHeapFreeRatio=25",
    "-XX:-ShrinkHeapInSteps",
    "-XX:TrimNativeHeapInterval=60000",
)
HEALTH = "/stand-in/health"


@dataclass(frozen=True)
class StandIn:
    """How a stand-in is set up."""

    folder: Path
    token: str
    warehouse_id: str = "local"
    memory: str = "1g"  # heap of the JVM that runs statements
    large: bool = False  # that JVM is for statements over millions of rows, not for many over few
    job_memory: str = "1g"  # heap of each run's JVM
    pace: Pace = field(default_factory=Pace)


def create_app(stand_in: StandIn) -> FastAPI:
    """The application. Its folder holds everything that survives a restart."""
    mounts = volumes.Volumes(stand_in.folder)
    scopes = secret_scopes.SecretScopes(stand_in.folder)
    folders = RunFolders(stand_in.folder, mounts, scopes, stand_in.job_memory)
    scheduler = Scheduler(folders, stand_in.pace)
    trouble = faults.Faults()

    def start_spark() -> "SparkSession":
        conf = {
            "spark.driver.maxResultSize": "128m",  # far more than a statement may return
            # A long statement holds two slots; others go on in the rest. Their threads share the processors.
            "spark.master": "local[8]",
            "spark.cleaner.periodicGC.interval": "3min",
            "spark.default.parallelism": "2",
            "spark.sql.leafNodeDefaultParallelism": "2",
        }
        return spark.session(
            folders.warehouse, "databricks-stand-in", stand_in.memory, conf, () if stand_in.large else SMALL_JAVA
        )

    warehouse = Warehouse(mounts, start_spark)

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        warehouse.boot()
        await scheduler.restore()
        yield
        await scheduler.stop()
        warehouse.stop()

    app = FastAPI(title="Databricks stand-in", lifespan=lifespan, docs_url=None, redoc_url=None, openapi_url=None)
    app.add_exception_handler(errors.ApiError, errors.answer_api_error)
    app.add_exception_handler(RequestValidationError, errors.answer_bad_request)
    app.add_exception_handler(HTTPException, _answer_unknown)
    app.add_exception_handler(Exception, errors.answer_fault)

    @app.middleware("http")
    async def gate(request: Request, call: RequestResponseEndpoint) -> Response:
        if refusal := _refusal(request, stand_in.token):
            return refusal.response()
        if request.url.path.startswith("/stand-in/"):
            return await call(request)
        return await trouble.answer(request, call)

    app.include_router(jobs_api.routes(scheduler))
    app.include_router(statements_api.routes(stand_in.warehouse_id, warehouse))
    app.include_router(volumes.routes(mounts))
    app.include_router(secret_scopes.routes(scopes))
    app.include_router(faults.routes(trouble))

    @app.get("/api/2.0/preview/scim/v2/Me")
    async def me() -> dict[str, Any]:
        return {"id": "1", "userName": "local", "displayName": "Local stand-in", "active": True}

    @app.get("/api/2.1/clusters/spark-versions")  # what "Test connection" in Airflow asks for
    async def spark_versions() -> dict[str, Any]:
        return {"versions": [{"key": "18.x-scala2.13", "name": "18 (Apache Spark 4.1, Scala 2.13)"}]}

    @app.get(HEALTH)
    async def health(response: Response) -> dict[str, Any]:
        if warehouse.state != "RUNNING":
            response.status_code = 503
        return {"warehouse": warehouse.state, "active_runs": len(scheduler.runs(active=True))}

    return app


def _refusal(request: Request, token: str) -> errors.ApiError | None:
    path = request.url.path
    if path == HEALTH or not path.startswith(("/api/", "/stand-in/")):
        return None
    scheme, _, given = request.headers.get("Authorization", "").partition(" ")
    if scheme != "Bearer" or not given:
        return errors.ApiError(
            401, "UNAUTHENTICATED", "Credential was not sent or was of an unsupported type for this API."
        )
    if not secrets.compare_digest(given.encode(), token.encode()):
        return errors.ApiError(403, "PERMISSION_DENIED", "Invalid access token.")
    return None


def _answer_unknown(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    message = (
        f"No API found for '{request.method} {request.url.path}' (the local stand-in knows what this product uses)"
    )
    return errors.ApiError(error.status_code, "ENDPOINT_NOT_FOUND", message).response()
