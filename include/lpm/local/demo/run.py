"""``lpm demo``: bring the local cloud up, go live through Airflow, keep traffic running, show and check it."""

import contextlib
import time
from concurrent.futures import ThreadPoolExecutor

import httpx
from rich.console import Console
from rich.live import Live

from lpm.local.airflow_api import TaskState
from lpm.local.cloud import control
from lpm.local.demo.faults import FaultMaker
from lpm.local.demo.pipeline import Pipeline
from lpm.local.demo.proof import Proof
from lpm.local.demo.screen import Summary, screen
from lpm.local.demo.site import Publication
from lpm.local.demo.traffic import INSERTED, Traffic
from lpm.local.demo.verification import Verdict
from lpm.local.endpoints import Airflow

FIRST_ROWS = 5_000
ONCE_ROUNDS = 60  # about a minute of traffic
LOG_SECONDS = 15  # a terminal is redrawn every second, a log gets a picture so often

console = Console(soft_wrap=True)  # addresses must stay on one line
if not console.is_terminal:
    console.width = 120  # a log has no width of its own


def demo(*, once: bool) -> int:
    """Run until Ctrl-C, or with ``once`` a fixed amount of traffic: then 0 says that source and targets are equal.

    Raises:
        RuntimeError, OSError: a part did not do its work; the message says which and where to look.
    """
    started = time.monotonic()
    pipeline = Pipeline.of(cloud := control.up(console.print))
    pipeline.source.create(FIRST_ROWS)
    console.print(f"source: {pipeline.source.table_name}, version {pipeline.source.version()}")
    _go_live(pipeline)
    pipeline.wait_for_version(0)
    console.print(f"[green]first rows visible after {time.monotonic() - started:.0f} s[/]")
    site = Publication(pipeline, lasting=not once)
    site.start()
    _print_addresses(cloud.endpoints.airflow)
    first_number = FIRST_ROWS + pipeline.source.version() * INSERTED  # beyond every row that was ever inserted
    traffic = Traffic(pipeline.source, first_number, ONCE_ROUNDS if once else None)
    proof = Proof(pipeline, FaultMaker(pipeline, pipeline.addresses(cloud)))
    traffic.start()
    proof.start()
    try:
        _watch(pipeline, traffic, proof)
    except KeyboardInterrupt:
        console.print("stopping the traffic; the local cloud keeps running (`.venv/bin/lpm local down` stops it)")
        traffic.stop()
        traffic.join()
        return 0
    site.join()
    if site.failure:
        console.print(f"the runbook site was not published: {site.failure}", style="red", markup=False)
    return _verdict(pipeline, traffic, proof) or int(site.failure is not None)


def _go_live(pipeline: Pipeline) -> None:
    begun = time.monotonic()

    def show(task: TaskState) -> None:
        if task.state in ("success", "failed", "up_for_retry"):
            console.print(f"  {task.task:<22} {task.state:<24} {time.monotonic() - begun:5.1f} s")

    console.print("go_live, through Airflow:")
    result = pipeline.run_dag("go_live", {"reason": "make demo"}, show)
    console.print(result["summary"], markup=False)


def _print_addresses(airflow: Airflow) -> None:
    logins = ", ".join(f"{login.user}/{login.password} ({login.role})" for login in airflow.logins)
    console.print(f"Airflow: [bold]{airflow.url}[/]   logins: {logins}")
    console.print(f"Runbooks: [bold]{airflow.url}/runbooks/[/]   (publish_docs publishes them now; the same login)")
    console.print("every part, its log and memory: .venv/bin/lpm local status")


def _watch(pipeline: Pipeline, traffic: Traffic, proof: Proof) -> None:
    """Show the screen until traffic and proof have ended, and what was proved as soon as it is known."""
    begun, waits_for_proof = time.monotonic(), True
    source_version = pipeline.source.version()
    with ThreadPoolExecutor(8) as pool, Live(console=console, auto_refresh=False) as live:
        while True:
            running = traffic.is_alive() or proof.is_alive()
            if waits_for_proof and not proof.is_alive():
                waits_for_proof = False
                _print_proof(proof)
            with contextlib.suppress(RuntimeError, OSError, httpx.HTTPError):  # away for a moment: show what is known
                source_version = pipeline.source.version()
            seconds = time.monotonic() - begun
            summary = Summary(source_version, traffic.rows, traffic.rows / seconds, seconds)
            picture = screen(summary, pipeline.company_states(pool, source_version))
            if console.is_terminal:
                live.update(picture, refresh=True)
            else:
                console.print(picture)
            if not running:
                return
            (traffic if traffic.is_alive() else proof).join(1.0 if console.is_terminal else LOG_SECONDS)


def _print_proof(proof: Proof) -> None:
    console.print("one fault of every class was made by hand; reconcile, through Airflow, says:")
    if proof.failure:
        console.print(f"  the proof failed: {proof.failure}", style="red", markup=False)
    for each in proof.proved:
        found = f"found as {each.named}" if each.named else "not found"
        mended = "repaired" if each.repaired else "not repaired"
        style = "green" if each.right else "red"
        console.print(f"  [{style}]{each.fault.company}: {each.fault.kind}: {found}, {mended}[/]")


def _verdict(pipeline: Pipeline, traffic: Traffic, proof: Proof) -> int:
    if traffic.failure:
        console.print(f"the traffic failed: {traffic.failure}", style="red", markup=False)
        return 1
    console.print(f"waiting until every company has version {pipeline.source.version()}, then comparing every value")
    verdicts = pipeline.catch_up()
    for verdict in verdicts:
        _print_verdict(verdict)
    strays = pipeline.strays()
    console.print(f"  unknown company: {strays.unknown_company_rows} rows, {strays.unrouted_events} events unrouted")
    console.print(f"  no company: {strays.rows_without_company} rows, {strays.dead_letters} dead letters")
    equal = strays.kept and all(verdict.equal for verdict in verdicts)
    console.print("[green]source = targets[/]" if equal else "[red]source and targets differ[/]")
    return 0 if equal and proof.right else 1


def _print_verdict(verdict: Verdict) -> None:
    if verdict.equal:
        console.print(f"  [green]{verdict.company}: {verdict.rows} rows, every value equal[/]")
        return
    console.print(f"  [red]{verdict.company}: {len(verdict.differences)} differences, the first of them:[/]")
    for difference in verdict.differences[:5]:
        console.print(f"    {difference}", markup=False)
