"""``lpm``: configuration, derived files and the local cloud.

Each command imports what it needs when it runs, so that the quick ones stay quick.
"""

import argparse
import os
import sys
from collections.abc import Sequence

from lpm.config import Config, ConfigError, Environment, enabled_environments, load_config


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; the result is the exit code."""
    options = parser().parse_args(arguments)
    try:
        return int(options.run(options))
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # `lpm local logs kafka | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (ConfigError, OSError, RuntimeError) as error:  # what a person can mend: the message says how
        print(f"lpm: {error}", file=sys.stderr)
        return 1


def parser() -> argparse.ArgumentParser:
    """The commands and their arguments."""
    whole = argparse.ArgumentParser(prog="lpm", description=__doc__.splitlines()[0] if __doc__ else None)
    commands = whole.add_subparsers(required=True, metavar="COMMAND")

    config = commands.add_parser("config", help="the configuration in include/config")
    check = config.add_subparsers(required=True, metavar="COMMAND").add_parser(
        "check", help="report every configuration error at once; exit 1 if there is one"
    )
    check.set_defaults(run=_config_check)

    render = commands.add_parser("render", help="write the files derived from the configuration")
    render.add_argument("--check", action="store_true", help="write nothing; show what drifted, exit 1 if anything did")
    render.set_defaults(run=_render)

    contract = commands.add_parser("contract", help="the table contract of pipeline.yml")
    propose = contract.add_subparsers(required=True, metavar="COMMAND").add_parser(
        "propose", help="print the contract that a table could have, from its columns, and what a person has to decide"
    )
    propose.add_argument("table", help="catalog, schema and table with dots between them")
    propose.add_argument("--environment", required=True, help="whose Airflow connection to Databricks is used")
    propose.set_defaults(run=_contract_propose)

    demo = commands.add_parser("demo", help="run the whole pipeline on live traffic and show it")
    demo.add_argument(
        "--once", action="store_true", help="a fixed amount of traffic, then check; exit 1 on a difference"
    )
    demo.set_defaults(run=_demo)

    site = commands.add_parser("site", help="the runbook site")
    build = site.add_subparsers(required=True, metavar="COMMAND").add_parser(
        "build",
        help="make the site in build/site from the configuration and the evidence of the local cloud, and check it",
    )
    build.add_argument(
        "--environments", help="whose DAGs it links to, comma between them (default: those that are enabled)"
    )
    build.set_defaults(run=_site_build)

    _add_local(commands.add_parser("local", help="the local cloud").add_subparsers(required=True, metavar="COMMAND"))
    return whole


def _add_local(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    def add(name: str, text: str) -> argparse.ArgumentParser:
        command = commands.add_parser(name, help=text)
        command.set_defaults(run=_local, action=name)
        return command

    add("prepare", "fetch what the local cloud runs on (Java, Spark's jars, Kafka); a second run takes milliseconds")
    add("lock-jars", "make include/config/jars.lock anew from Maven Central")
    add("up", "start the local cloud; a second call says that it is up")
    add("status", "state, address, memory and log of each part").add_argument("--json", action="store_true")
    logs = add("logs", "show the log of one part")
    logs.add_argument("part", help="as named by `lpm local status`")
    logs.add_argument("-f", "--follow", action="store_true", help="keep showing what is added")
    logs.add_argument("-n", "--lines", type=int, default=100, help="lines from the end (default 100)")
    add("down", "stop the local cloud, keep its state")
    add("reset", "stop the local cloud and delete its state")


def _config_check(_: argparse.Namespace) -> int:
    from lpm.config.alerts import load_alerts
    from lpm.config.everything import check_everything

    check_everything()
    config, alerts = load_config(), load_alerts()
    print(
        f"configuration: {len(config.companies)} companies on {len(config.shards)} shards, "
        f"{len(alerts.alerts)} alerts, environments {', '.join(config.environments)}; no problem found"
    )
    return 0


def _render(options: argparse.Namespace) -> int:
    from lpm import derived
    from lpm.local import paths

    drifts = derived.drifted(load_config(), paths.checkout())
    if options.check:
        for drift in drifts:
            sys.stdout.write(drift.diff())
        if drifts:
            print(f"{len(drifts)} derived files drifted from the configuration; run `lpm render`", file=sys.stderr)
        return int(bool(drifts))
    derived.write(drifts, paths.checkout())
    for drift in drifts:
        print(f"{'deleted' if drift.expected is None else 'wrote'} {drift.path}")
    print(f"{len(drifts)} derived files changed")
    return 0


def _site_build(options: argparse.Namespace) -> int:
    from lpm.local import paths
    from lpm.site.build import build_site
    from lpm.site.gathering import FolderEvidence, gather

    config, folder = load_config(), paths.checkout() / "build" / "site"
    chosen = options.environments.split(",") if options.environments else enabled_environments(config)
    environments = tuple(_environment(config, name).name for name in chosen)
    evidence = {"local": FolderEvidence(paths.cloud_folder() / "airflow" / "evidence")}
    site = build_site(gather(environments, evidence, parser(), folder / "cache"), folder)
    print(f"the site is in {site}: open {site / 'index.html'}")
    return 0


def _environment(config: Config, name: str) -> Environment:
    """The environment that somebody named on the command line."""
    if name not in config.environments:
        raise RuntimeError(f"unknown environment {name!r}; expected one of {', '.join(config.environments)}")
    return config.environment(name)


def _contract_propose(options: argparse.Namespace) -> int:
    from lpm.clients.databricks import DatabricksClient
    from lpm.procedures.assess.proposal import propose
    from lpm.procedures.outcome import ProcedureError

    config = load_config()
    databricks = DatabricksClient.of(_environment(config, options.environment))
    try:
        databricks.require_connection()
        print(propose(config, databricks, options.table).text, end="")
    except ProcedureError as refusal:
        raise RuntimeError(str(refusal)) from refusal
    return 0


def _demo(options: argparse.Namespace) -> int:
    from lpm.local.demo import run

    return run.demo(once=options.once)


def _local(options: argparse.Namespace) -> int:
    from lpm.local import commands

    return commands.run(options)


if __name__ == "__main__":
    sys.exit(main())
