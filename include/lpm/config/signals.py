"""What the pipeline can be asked: the closed list of signals that alerts speak about."""

from dataclasses import dataclass
from typing import Literal

SubjectKind = Literal["company", "shard", "environment"]
Aggregation = Literal["Total", "Maximum", "Minimum", "Average"]


@dataclass(frozen=True)
class PlatformMetric:
    """Where Azure Monitor has the same number. ``dimension`` holds the shard's hub when the resource has many."""

    namespace: Literal["Microsoft.EventHub/namespaces", "Microsoft.StreamAnalytics/streamingjobs"]
    name: str
    aggregation: Aggregation
    dimension: str = ""


@dataclass(frozen=True)
class Signal:
    """One number about one subject.

    Attributes:
        name: As alerts name it.
        subject: What the number is about.
        unit: Of the value; ``yes/no`` is 1 or 0.
        meaning: In one sentence.
        observed_by: The DAG that looks; ``azure`` when only Azure Monitor does, ``each`` when each evaluation makes it.
        always: Whether every round has to know it: one that does not is blind.
        metric: Where Azure Monitor has it, if it does.
    """

    name: str
    subject: SubjectKind | Literal["any"]
    unit: str
    meaning: str
    observed_by: Literal["monitor", "reconcile", "azure", "each"] = "monitor"
    always: bool = True
    metric: PlatformMetric | None = None


_STREAMING_JOBS: Literal["Microsoft.StreamAnalytics/streamingjobs"] = "Microsoft.StreamAnalytics/streamingjobs"
_HUBS: Literal["Microsoft.EventHub/namespaces"] = "Microsoft.EventHub/namespaces"

_ALL = (
    # The stream job and its source
    Signal("stream_job_down", "environment", "yes/no", "The stream job is missing, paused, or has no run that runs."),
    Signal("stream_job_failures", "environment", "runs", "Runs of the stream job that failed within the last hour."),
    Signal(
        "stream_progress_age_seconds",
        "environment",
        "seconds",
        "Age of the newest line of the stream's progress table.",
    ),
    Signal("source_lag_versions", "environment", "versions", "Versions of the source that the stream has not sent."),
    Signal("source_lag_seconds", "environment", "seconds", "Age of the oldest version that the stream has not sent."),
    Signal("dead_letters_new", "environment", "rows", "Rows that could not become an event, since the last look."),
    Signal(
        "change_feed_headroom_days",
        "environment",
        "days",
        "Time until the change feed forgets the oldest version that the stream or a company still needs.",
    ),
    # What was deployed
    Signal("definition_drift", "environment", "changes", "What deploying the rendered definitions would change."),
    Signal(
        "credential_days_left",
        "environment",
        "days",
        "Days until the first credential of an Airflow connection expires, as its extra expires_on says.",
        always=False,
    ),
    # Hubs and router
    Signal("router_down", "shard", "yes/no", "The streaming job is missing or in another state than Running."),
    Signal(
        "router_watermark_delay_seconds",
        "shard",
        "seconds",
        "Age of the oldest event that the streaming job has read and not delivered, worst of the last 5 minutes.",
        metric=PlatformMetric(_STREAMING_JOBS, "OutputWatermarkDelaySeconds", "Maximum"),
    ),
    Signal(
        "router_input_errors",
        "shard",
        "events",
        "Events that the streaming job could not read, in the last 5 minutes.",
        metric=PlatformMetric(_STREAMING_JOBS, "DeserializationError", "Total"),
    ),
    Signal(
        "router_output_errors",
        "shard",
        "events",
        "Events that did not fit an output, in the last 5 minutes; the job stops there and tries again.",
        metric=PlatformMetric(_STREAMING_JOBS, "ConversionErrors", "Total"),
    ),
    Signal(
        "router_memory_percent",
        "shard",
        "percent",
        "Share of the streaming job's memory in use; at 100 the job fails.",
        observed_by="azure",
        metric=PlatformMetric(_STREAMING_JOBS, "ResourceUtilization", "Maximum"),
    ),
    Signal(
        "hub_backlog_events",
        "shard",
        "events",
        "Events that wait in the hub for the streaming job, worst of the last 5 minutes.",
        metric=PlatformMetric(_STREAMING_JOBS, "InputEventsSourcesBacklogged", "Maximum"),
    ),
    Signal(
        "hub_throttled_requests",
        "shard",
        "requests",
        "Requests that the hub refused for lack of throughput units, in the last 5 minutes.",
        metric=PlatformMetric(_HUBS, "ThrottledRequests", "Total", "EntityName"),
    ),
    Signal(
        "hub_headroom_hours", "shard", "hours", "Time until the hub forgets the oldest event that was not delivered."
    ),
    # Companies
    Signal(
        "watermark_age_seconds",
        "company",
        "seconds",
        "Age of the oldest version of the source that the company's database may not have yet; 0 when it has all.",
    ),
    Signal(
        "latency_p95_seconds",
        "company",
        "seconds",
        "Commit in the source to visible in the database, 95th percentile of what was applied in the last 10 minutes.",
    ),
    Signal("quarantine_new", "company", "events", "Events that the database refused, since the last look."),
    Signal("inbox_rows", "company", "rows", "Rows that stayed in the inbox; the monitor has drained them."),
    # Proof
    Signal(
        "reconcile_differences",
        "company",
        "keys",
        "Keys on which source and database differ after the grace period; the detail has the classes.",
        observed_by="reconcile",
    ),
    Signal(
        "reconcile_not_verified_hours",
        "company",
        "hours",
        "Age of the moment through which the company is proven equal.",
        observed_by="reconcile",
    ),
    Signal(
        "watermark_stuck_seconds",
        "company",
        "seconds",
        "How long the company's watermark has stood below a version that the source had.",
        observed_by="reconcile",
    ),
    Signal(
        "ledger_disagrees",
        "company",
        "buckets",
        "Buckets whose ledger entry is not what the table itself sums to.",
        observed_by="reconcile",
    ),
    Signal("reconcile_error", "company", "yes/no", "The comparison could not be made.", observed_by="reconcile"),
    Signal(
        "unknown_company_rows",
        "environment",
        "rows",
        "Rows of the source whose company is not configured.",
        observed_by="reconcile",
    ),
    Signal(
        "unknown_databases",
        "environment",
        "databases",
        "Databases with the pipeline's tables that belong to no configured company.",
        observed_by="reconcile",
    ),
    # The watching itself
    Signal(
        "monitor_blind",
        "any",
        "signals",
        "Signals that the last round could not observe; what is not known is not healthy.",
        observed_by="each",
    ),
    Signal(
        "notices_undelivered",
        "environment",
        "notices",
        "Notices that a channel has not taken yet; each is tried again in every round.",
        observed_by="each",
    ),
)

SIGNALS = {signal.name: signal for signal in _ALL}
MONITOR_BLIND = "monitor_blind"
NOTICES_UNDELIVERED = "notices_undelivered"
