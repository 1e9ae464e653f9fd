"""The application behind ``/runbooks``: the published site, the live status, and the way from a DAG to its page.

Airflow shows a plugin's application to anybody; here each route asks for Airflow's login.
"""

from collections.abc import Awaitable, Callable
from pathlib import Path
from urllib.parse import quote

from airflow.api_fastapi.app import get_auth_manager
from airflow.api_fastapi.core_api.security import get_user
from fastapi import Depends, FastAPI, HTTPException, Request
from fastapi.responses import FileResponse, HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException as AnyHTTPException
from starlette.staticfiles import StaticFiles

from lpm.clients.evidence import EvidenceError, EvidenceStore
from lpm.config import enabled_environments, load_config
from lpm.procedures.status import STATUS
from lpm.site import notices
from lpm.site.serving import PublishedSite, state_folder

CHECKOUT = Path(__file__).resolve().parents[1]
# Of the panel, which has to work before a site is published, too.
SCRIPTS = {"panel.js": "plugins/panel.js", "live-status.js": "docs/assets/live-status.js"}
KEPT_AND_ASKED_ABOUT = {"Cache-Control": "private, no-cache"}  # the browser asks each time whether its copy is right
FRESH = {"Cache-Control": "no-store"}

config = load_config()
environments = enabled_environments(config)
home = environments[0]  # whose site is shown
site = PublishedSite(lambda: EvidenceStore(config.environment(home)), state_folder() / home)
app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None, dependencies=[Depends(get_user)])


def notice(status: int, page: str) -> Response:
    """A page of our own instead of one of the site."""
    return HTMLResponse(page, status, FRESH)


async def with_release(request: Request, answer: Callable[[Path], Awaitable[Response]]) -> Response:
    """What ``answer`` makes of the folder of the release, else a page that says why there is none."""
    airflow = request.scope["root_path"].removesuffix("/runbooks")
    try:
        folder = await run_in_threadpool(site.release)
    except EvidenceError as error:
        return notice(503, notices.unreachable(home, str(error)))
    return await answer(folder) if folder else notice(503, notices.nothing_published(home, airflow))


def to_page(request: Request, page: str) -> Response:
    """Send the browser to a page of the site."""
    return RedirectResponse(f"{request.scope['root_path']}/{page}", 307, KEPT_AND_ASKED_ABOUT)


@app.exception_handler(AnyHTTPException)
async def refused(request: Request, error: AnyHTTPException) -> Response:
    """A page for people, JSON for programs."""
    if "text/html" not in request.headers.get("accept", ""):
        return JSONResponse({"detail": error.detail}, error.status_code, error.headers)
    if error.status_code == 401:
        return notice(401, notices.not_logged_in(get_auth_manager().get_url_login(next_url=str(request.url))))
    return notice(error.status_code, notices.failure(error.status_code, str(error.detail), request.scope["root_path"]))


@app.get("/status/index.json")
async def all_environments() -> Response:
    """The environments of this Airflow."""
    return JSONResponse({"environments": environments}, headers=FRESH)


@app.get("/status/{environment}.json")
def status(environment: str) -> Response:
    """The status of an environment as it was written last."""
    if environment not in environments:
        raise HTTPException(404, f"no environment {environment!r} here; expected one of {', '.join(environments)}")
    try:
        document = EvidenceStore(config.environment(environment)).read(STATUS)
    except EvidenceError as error:
        raise HTTPException(503, str(error)) from error
    if document is None:
        raise HTTPException(404, f"nothing was written yet; trigger monitor__{environment}")
    return Response(document, headers=FRESH, media_type="application/json")


@app.get("/panel/{name}")
async def script(name: str) -> Response:
    """The scripts of the panel on Airflow's home page."""
    path = CHECKOUT / SCRIPTS.get(name, "")
    if not path.is_file():
        raise HTTPException(404, f"no script {name!r}")
    return FileResponse(path, media_type="text/javascript", headers=KEPT_AND_ASKED_ABOUT)


@app.get("/dag/{dag_id}")
@app.get("/task/{dag_id}/{task_id}")
async def runbook(request: Request, dag_id: str, task_id: str = "") -> Response:
    """From a DAG or a task to its place on the site."""
    procedure, _, environment = dag_id.rpartition("__")

    async def page(folder: Path) -> Response:
        if environment not in environments or not (folder / "operations" / f"{procedure}.html").is_file():
            return notice(404, notices.not_ours(dag_id, request.scope["root_path"]))
        return to_page(request, f"operations/{procedure}.html" + (f"#task-{quote(task_id)}" if task_id else ""))

    return await with_release(request, page)


@app.api_route("/{path:path}", methods=["GET", "HEAD"])
async def serve(request: Request, path: str) -> Response:
    """A file of the site."""

    async def page(folder: Path) -> Response:
        if (other := notices.moved(path)) and (folder / other).is_file():
            return to_page(request, other)
        answer = await StaticFiles(directory=folder, html=True).get_response(path or ".", request.scope)
        answer.headers.update(KEPT_AND_ASKED_ABOUT)
        return answer

    return await with_release(request, page)
