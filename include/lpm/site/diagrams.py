"""Diagrams as inline SVG: Graphviz lays them out, the site's style sheet colours them in light and dark.

Nodes are links, so a diagram is also a way through the site. Links are relative to the page that shows the diagram.
"""

import os
import re
from collections.abc import Iterable
from html import escape
from posixpath import relpath

from lpm.site.dag_facts import ProcedureFacts

ASIDES = (("ok", "letter"), ("known", "unrouted"), ("right", "quarantine"), ("newer", "ignored"))  # beside each other
PIXELS = 1.2  # of a point; the diagram shrinks with the page and never grows beyond that
FONT = "Helvetica"  # Graphviz measures text with it; the browser then uses the site's own font


def inline_svg(dot: str, label: str) -> str:
    """A graph in the DOT language as SVG that can stand in a page.

    Args:
        dot: The graph. Nodes and edges carry no colours; classes of the style sheet give them.
        label: What the diagram shows, for those who cannot see it.
    """
    import pygraphviz  # only pages with a new diagram need it

    graph = pygraphviz.AGraph(string=dot)
    graph.graph_attr.update(bgcolor="transparent", fontname=FONT)
    graph.node_attr.update(fontname=FONT, fontsize="11")
    graph.edge_attr.update(fontname=FONT, fontsize="9")
    svg = graph.draw(format="svg", prog="dot").decode()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r'\s(fill|stroke)="(?!none|transparent)[^"]*"', "", svg)  # colours come from the style sheet
    svg = re.sub(r"<title>.*?</title>\n?|<!--.*?-->\n?", "", svg, flags=re.DOTALL)
    svg = re.sub(r'\sid="[^"]*"', "", svg)  # two diagrams on a page would share them
    # role img would hide the links from assistive technology.
    width = float(re.search(r'<svg width="([\d.]+)pt"', svg)[1])  # type: ignore[index]  # Graphviz writes it always
    opening = f'<svg class="diagram" role="group" aria-label="{escape(label)}" style="max-width:{width * PIXELS:.0f}px"'
    svg = re.sub(r'<svg width="[^"]*" height="[^"]*"', lambda _: opening, svg, count=1)
    svg = svg.replace("xlink:href", "href").replace('xlink:title="', 'aria-label="')
    lines = (line for line in svg.splitlines() if line.strip())  # a blank line would end the block of HTML
    return "<div>" + "\n".join(lines) + "</div>"


def steps(procedure: ProcedureFacts) -> str:
    """The tasks of a procedure and what runs after what."""
    nodes = [
        _node(
            task.name,
            f"{task.name}\n(for each {task.mapped_over})" if task.mapped_over else task.name,
            f"#task-{task.name}",
            task.doc or task.name,
            "always" if task.always_runs else "task",
        )
        for task in procedure.tasks
    ]
    edges = [f"{_quoted(before)} -> {_quoted(task.name)}" for task in procedure.tasks for before in task.after]
    return inline_svg(_graph("LR", nodes, edges), f"Steps of {procedure.name}")


def architecture(page: str, companies: Iterable[str]) -> str:
    """The whole pipeline. ``page`` is the path of the page that shows it."""

    def to(path: str) -> str:
        return relative(path, page)

    databases = list(companies)
    shown = [*databases[:2], "…"] if len(databases) > 2 else databases
    nodes = [
        _node("source", "tdr_streaming\nDelta, Gold schema", to("source/change-feed.md"), "The source table", "edg"),
        _node("stream", "stream job\nDatabricks, continuous", to("architecture/change-events.md"), "Stream job", "edg"),
        _node("hub", "Event Hubs\none hub per shard", to("environments/index.md"), "Event Hubs", "azure"),
        _node("router", "Stream Analytics\none job per shard", to("router/index.md"), "The router", "azure"),
        _node("letters", "dead letters\nDelta table", to("runbooks/dead-letters.md"), "Dead letters", "aside"),
        _node("unrouted", "unrouted\nblob container", to("runbooks/unknown-company.md"), "Unrouted events", "aside"),
        *(
            _node(f"db{n}", f"{name}\nAzure SQL", to("companies.md"), "Databases", "lpm")
            for n, name in enumerate(shown)
        ),
        _node(
            "airflow",
            "Airflow\nbootstrap · deploy · monitor · reconcile · repair",
            to("operations/index.md"),
            "Procedures",
            "control",
        ),
        _node("site", "runbook site\nand evidence", to("index.md"), "Home", "control"),
    ]
    targets = " ".join(f"db{n};" for n in range(len(shown)))
    groups = [
        'subgraph cluster_edg { label="EDG Datalake (Databricks)"; source; stream; letters; }',
        'subgraph cluster_azure { label="Azure"; hub; router; unrouted; }',
        f'subgraph cluster_lpm {{ label="LPM, one database per company"; {targets} }}',
    ]
    edges = [
        'source -> stream [label=" change feed" weight=9]',
        'stream -> hub [label=" Kafka" weight=9]',
        'hub -> router [label=" AMQP" weight=9]',
        *(f"router -> db{n}" for n in range(len(shown))),
        "stream -> letters [style=dashed]",
        "router -> unrouted [style=dashed]",
        'site -> airflow [dir=back label=" evidence"]',
        "source -> site [style=invis]",  # keeps the column of Airflow beside that of the data
        'airflow -> stream [style=dashed constraint=false label="deploy"]',
        'airflow -> hub [style=dashed constraint=false label="repair"]',
        'airflow -> router [style=dashed constraint=false label="deploy"]',
        'airflow -> db0 [style=dashed constraint=false label="reconcile"]',
    ]
    return inline_svg(_graph("TB", [*nodes, *groups], edges), "The pipeline from the source to the databases")


def path_of_a_row(page: str) -> str:
    """What happens to one committed change."""

    def to(path: str) -> str:
        return relative(path, page)

    nodes = [
        _node("commit", "commit\nversion N", to("source/change-feed.md"), "The source", "edg"),
        _node("fold", "fold\none event per company and key", to("architecture/change-events.md"), "Events", "edg"),
        _node("ok", "can be an event?", to("runbooks/dead-letters.md"), "Dead letters", "decision"),
        _node("hub", "hub of the shard\npartition of the company", to("companies.md"), "Companies", "azure"),
        _node("known", "company configured?", to("router/index.md"), "Router", "decision"),
        _node("inbox", "inbox of the\ncompany's database", to("architecture/overview.md"), "Inbox", "lpm"),
        _node("right", "own company,\nconvertible?", to("runbooks/quarantine.md"), "Quarantine", "decision"),
        _node("newer", "not older than\nwhat is stored?", to("architecture/guarantees.md"), "Guarantees", "decision"),
        _node("applied", "applied", to("architecture/guarantees.md"), "Guarantees", "lpm"),
        _node("letter", "dead letter", to("runbooks/dead-letters.md"), "Dead letters", "aside"),
        _node("unrouted", "unrouted", to("runbooks/unknown-company.md"), "Unrouted events", "aside"),
        _node("quarantine", "quarantine", to("runbooks/quarantine.md"), "Quarantine", "aside"),
        _node("ignored", "ignored:\nalready newer", to("architecture/guarantees.md"), "Guarantees", "aside"),
    ]
    edges = [
        *("commit -> fold", "fold -> ok", 'ok -> hub [label=" yes"]', "hub -> known", 'known -> inbox [label=" yes"]'),
        *("inbox -> right", 'right -> newer [label=" yes"]', 'newer -> applied [label=" yes"]'),
        *('ok -> letter [label="no"]', 'known -> unrouted [label="no"]', 'right -> quarantine [label="no"]'),
        'newer -> ignored [label="no"]',
        *(f"{{ rank=same; {ask}; {aside} }}" for ask, aside in ASIDES),
    ]
    return inline_svg(_graph("TB", nodes, edges), "The path of one change")


def relative(target: str, page: str) -> str:
    """A link from one page to another, as the built HTML needs it: MkDocs rewrites nothing inside SVG."""
    path, hash_mark, fragment = target.partition("#")
    return relpath(path.removesuffix(".md") + ".html", os.path.dirname(page) or ".") + hash_mark + fragment


def _graph(direction: str, nodes: Iterable[str], edges: Iterable[str]) -> str:
    body = ";\n".join([*nodes, *edges])
    return f"digraph {{ graph [rankdir={direction} nodesep=0.3 ranksep=0.35];\n{body};\n}}"


def _node(name: str, label: str, link: str, tooltip: str, kind: str) -> str:
    shape = "diamond" if kind == "decision" else "box"
    style = "filled" if kind == "decision" else "rounded,filled"
    attributes = {"label": label, "URL": link, "tooltip": tooltip, "class": f"n-{kind}", "shape": shape, "style": style}
    margin = ' margin="0.02,0.02"' if kind == "decision" else ""
    return f"{_quoted(name)} [{' '.join(f'{key}={_quoted(value)}' for key, value in attributes.items())}{margin}]"


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'
