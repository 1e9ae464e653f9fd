"""The procedure publish_docs as Airflow DAGs, one for each enabled environment."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from airflow.providers.standard.operators.hitl import HITLOperator
from airflow.sdk import Param, TriggerRule, task
from airflow.sdk.exceptions import AirflowSkipException
from procedure_dags import Procedure, dags_of, optional_text, outcomes_of_task, report

from lpm.config import Config, Environment, enabled_environments, load_config
from lpm.config.contacts import load_contacts
from lpm.config.reviews import load_reviews
from lpm.procedures.outcome import Outcome

APPROVE, ASKED, TEXT = "approve", "asked", "text"  # the task that asks; XCom keys of what is asked
WAITING = timedelta(hours=4)  # for an answer; then a draft is published


class AskApprovers(HITLOperator):
    """Asks when there is something to ask, and when asking is wanted."""

    def execute(self, context: Any) -> Any:
        if not context["ti"].xcom_pull(task_ids="build", key=ASKED):
            raise AirflowSkipException("every page is approved as it is")
        if not context["params"]["ask"]:
            raise AirflowSkipException("asking is switched off for this run (parameter ask)")
        return super().execute(context)


def tasks(config: Config, environment: Environment) -> None:
    # The environment itself first: its store has the approvals, and takes the site.
    names = tuple(dict.fromkeys([environment.name, *enabled_environments(config)]))

    def facts() -> tuple[Any, tuple[str, ...]]:
        from lpm.cli import parser
        from lpm.site.gathering import gather
        from lpm.site.publishing import reachable_evidence
        from lpm.site.serving import state_folder

        evidence, failures = reachable_evidence(config, names)
        return gather(names, evidence, parser(), state_folder() / "facts"), tuple(failures)

    @task
    def build(ti: Any = None) -> dict[str, Any]:
        from lpm.site.publishing import checked_site, question
        from lpm.site.reviews import Register, read_approvals

        known, failures = facts()
        with checked_site(known):
            register = Register(load_reviews(), known.contacts, read_approvals(known.evidence[environment.name]))
            asked = question(known, register, datetime.now(UTC))
        ti.xcom_push(ASKED, dict(asked.pages))
        ti.xcom_push(TEXT, asked.text)
        pages = (*failures, *(f"not approved as it is: {path}" for path in asked.pages))
        return report(Outcome(False, f"no faults; {len(asked.pages)} pages are not approved as they are", pages))

    ask = AskApprovers(
        task_id=APPROVE,
        subject=f"Runbook site ({environment.name}): pages that are not approved as they are",
        body=f"{{{{ ti.xcom_pull(task_ids='build', key='{TEXT}') }}}}",
        options=["Approve and publish", "Publish as draft", "Reject"],
        # A site that contradicts what runs is worse than one that says a page is not approved yet.
        defaults="Publish as draft",
        response_timeout=WAITING,
        retries=0,  # each try would ask again
        assigned_users=approvers(),
        params={"remark": optional_text("What the owner should know, such as why you reject.")},
        doc_md="Asks the approvers of `reviews.yml` about the pages that changed; skipped when none did.",
    )

    @task(trigger_rule=TriggerRule.NONE_FAILED)
    def record(ti: Any = None, dag_run: Any = None) -> dict[str, Any]:
        from lpm.clients.evidence import EvidenceStore
        from lpm.site import publishing

        answer = ti.xcom_pull(task_ids=APPROVE)
        if not answer:
            return report(Outcome(False, "nobody was asked"))
        user, moment = answer["responded_by_user"] or {}, answer["responded_at"]
        response = publishing.Response(
            publishing.Answer(answer["chosen_options"][0]),
            logins=tuple(user[key] for key in ("name", "id") if user.get(key)),
            at=moment if isinstance(moment, datetime) else datetime.fromisoformat(moment),
            run=dag_run.run_id,
            remark=(answer["params_input"] or {}).get("remark"),
        )
        asked = ti.xcom_pull(task_ids="build", key=ASKED)
        return report(publishing.record(EvidenceStore(environment), load_reviews(), load_contacts(), asked, response))

    @task(trigger_rule=TriggerRule.NONE_FAILED)
    def publish(ti: Any = None, dag_run: Any = None) -> dict[str, Any]:
        from lpm.clients.evidence import EvidenceStore
        from lpm.site import publishing, releases

        answer = ti.xcom_pull(task_ids=APPROVE)
        if answer and answer["chosen_options"] == [publishing.Answer.REJECT]:
            return report(Outcome(False, "rejected: the site stays as it was"))
        who = (answer or {}).get("responded_by_user") or {"name": dag_run.triggering_user_name or dag_run.run_type}
        known, failures = facts()  # again, with the approvals that were just recorded
        with publishing.checked_site(known) as site:
            store, now = EvidenceStore(environment), datetime.now(UTC)
            done = releases.publish(store, site, who["name"], dag_run.run_id, now)
        return report(Outcome(done.changed, done.summary, (*done.details, *failures)))

    build() >> ask >> record() >> publish()


def approvers() -> list[Any]:
    """Everybody who approves some page, as Airflow knows them."""
    logins = dict.fromkeys(load_contacts().contact(contact).login for contact in load_reviews().approvers)
    return [{"id": login, "name": login} for login in logins]


def outcomes(ti: Any, step: str) -> Sequence[Outcome]:
    """What a step did; an answer is no outcome, the task after it has it."""
    return [] if step == APPROVE else outcomes_of_task(ti, step)


globals().update(
    dags_of(
        Procedure(
            name="publish_docs",
            title="Publish the runbook site",
            purpose="Builds and checks the runbook site, asks the approvers about what changed, and publishes it.",
            touches="The site and the records of approval in the evidence store. Nothing of the pipeline.",
            takes="Half a minute, and up to 4 hours for an answer when pages changed; then a draft is published.",
            undo="Deploy the earlier version of this repository and run it again.",
            timeout=timedelta(hours=6),
            tasks=tasks,
            schedule=load_config().pipeline.schedules.publish_docs,
            after_deployments=True,
            outcomes=outcomes,
            params={
                "ask": Param(
                    True,
                    type="boolean",
                    description="Ask about pages that are not approved as they are; else publish them with a note.",
                ),
            },
        )
    )
)
