"""The runbook site inside Airflow: behind its login, as tabs of our DAGs, and as a status panel on its home page.

Airflow loads this module in every process, each task included. So it imports nothing but Airflow's own plugin class;
what serves the site, in ``runbooks_app``, is imported when the first request comes.
"""

from typing import Any
from urllib.parse import urlsplit

from airflow.configuration import conf
from airflow.plugins_manager import AirflowPlugin

MOUNT = "/runbooks"
# Below which path of its host Airflow itself lies.
PREFIX = urlsplit(conf.get("api", "base_url", fallback="")).path.rstrip("/")


class LazyApp:
    """The application, which is imported when the first request comes."""

    def __init__(self) -> None:
        self.app: Any = None

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if self.app is None:
            from runbooks_app import app

            self.app = app
        await self.app(scope, receive, send)


def tab(destination: str, address: str) -> dict[str, str]:
    """A tab on every page of that kind; which page it opens follows from the DAG and the task."""
    return {
        "name": "Runbook",
        "href": f"{PREFIX}{MOUNT}/{address}",
        "destination": destination,
        "url_route": f"runbook_{destination}",  # Airflow drops a second one of the same name
    }


class LpmPlugin(AirflowPlugin):
    """What Airflow shows of us."""

    name = "lpm"
    fastapi_apps = ({"app": LazyApp(), "url_prefix": MOUNT, "name": "Runbooks"},)
    external_views = (
        {
            "name": "Runbooks",
            "href": f"{PREFIX}{MOUNT}/",
            "destination": "nav",
            "url_route": "runbooks",
            "nav_top_level": True,
        },
        tab("dag", "dag/{DAG_ID}"),
        tab("dag_run", "dag/{DAG_ID}"),
        tab("task", "task/{DAG_ID}/{TASK_ID}"),
        tab("task_instance", "task/{DAG_ID}/{TASK_ID}"),
    )
    react_apps = ({"name": "LpmStatus", "bundle_url": f"{PREFIX}{MOUNT}/panel/panel.js", "destination": "dashboard"},)
