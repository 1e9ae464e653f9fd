"""Short pages that Airflow shows where the site has none, with what to do next; and where pages are that moved."""

from html import escape
from urllib.parse import quote

FRAME = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{title}</title>
<style>body {{ font: 1rem/1.6 sans-serif; max-width: 40rem; margin: 3rem auto; padding: 0 1rem; }}</style>
</head>
<body><h1>{title}</h1>{body}</body>
</html>
"""


def nothing_published(environment: str, prefix: str) -> str:
    """No release of the site exists yet. ``prefix`` is the path of Airflow on its host."""
    dag = f"publish_docs__{environment}"
    return _page(
        "The runbook site is not published yet",
        f'<p>Trigger <a href="{escape(prefix)}/dags/{quote(dag)}" target="_top">{escape(dag)}</a>, then load this page '
        "again. Until then the pages are in the repository, below <code>docs/</code>.</p>",
    )


def unreachable(environment: str, reason: str) -> str:
    """The evidence store cannot be reached, and this server has no release of its own."""
    return _page(
        "The runbook site cannot be read",
        f"<p>It lies in the evidence store of {escape(environment)}, which did not answer:</p>"
        f"<pre>{escape(reason)}</pre><p>The pages are in the repository too, below <code>docs/</code>.</p>",
    )


def not_ours(dag_id: str, site: str) -> str:
    """A DAG that has no runbook here."""
    return _page(
        "No runbook for this DAG",
        f"<p><code>{escape(dag_id)}</code> is none of the DAGs of the pipeline EDG → LPM, or newer than the published "
        f'site. <a href="{escape(site)}/operations/index.html">All procedures</a></p>',
    )


def not_logged_in(login: str) -> str:
    """Nobody is logged in to Airflow in this browser. ``login`` is the address of its login page."""
    return _page("Log in to Airflow", f'<p>The runbooks are behind its login. <a href="{escape(login)}">Log in</a></p>')


def failure(status: int, reason: str, site: str) -> str:
    """Any other refusal."""
    title = "There is no such page" if status == 404 else f"Airflow refused ({status})"
    return _page(title, f'<p>{escape(reason)}</p><p><a href="{escape(site)}/">The start page of the site</a></p>')


def moved(path: str) -> str | None:
    """The page that may be meant by an address without ``.html``: ``runbooks/latency/``, ``runbooks/latency.md``."""
    name = path.removesuffix("/").removesuffix(".md")
    return f"{name}.html" if name and ".." not in name.split("/") else None


def _page(title: str, body: str) -> str:
    return FRAME.format(title=escape(title), body=body)
