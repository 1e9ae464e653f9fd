"""A look at a shard: its streaming job, its hub and their metrics."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from lpm.clients.azure_resource_manager import ResourceManager
from lpm.clients.metrics import Metrics, Series
from lpm.clients.stream_analytics import StreamingJob, StreamingJobs
from lpm.config import Environment
from lpm.config.signals import SIGNALS, PlatformMetric
from lpm.procedures.alerts.observations import Observation, Subject, unknown
from lpm.procedures.monitor.looks import attempt
from lpm.render import names

WINDOW = timedelta(minutes=5)  # of metrics, which Azure has 1 to 3 minutes late
RUNNING = "Running"
ROUTER_SIGNALS = (
    "router_watermark_delay_seconds",
    "router_input_errors",
    "router_output_errors",
    "hub_backlog_events",
)
HUB_SIGNALS = ("hub_throttled_requests",)
SECONDS_PER_HOUR = 3600


def look_at_shard(
    environment: Environment, shard: str, manager: ResourceManager, now: datetime
) -> tuple[Observation, ...]:
    """Whether a shard's router runs and keeps up, and whether its hub has room."""
    look = _Look(environment, shard, manager, now)
    return (
        *attempt(("router_down",), look.subject, look.state),
        *attempt(ROUTER_SIGNALS, look.subject, look.router),
        *attempt(("hub_headroom_hours",), look.subject, look.headroom),
        *attempt(HUB_SIGNALS, look.subject, look.hub),
    )


class _Look:
    def __init__(self, environment: Environment, shard: str, manager: ResourceManager, now: datetime) -> None:
        self._environment, self._now = environment, now
        self.subject = Subject(kind="shard", name=shard)
        self._job_name = names.streaming_job_name(environment, shard)
        self._hub = names.hub_name(shard)
        self._jobs, self._metrics = StreamingJobs(manager), Metrics(manager)
        self._job: StreamingJob | None = None
        self._backlog: float | None = None

    def state(self) -> Iterator[Observation]:
        self._job = self._jobs.get(self._job_name)
        state = self._job.state if self._job else "missing"
        last = self._job.last_output_event_time if self._job else None
        yield self._observation("router_down", state != RUNNING, f"{self._job_name} is {state}", last)

    def router(self) -> Iterator[Observation]:
        metrics = {signal: _metric(signal) for signal in ROUTER_SIGNALS}
        resource = f"Microsoft.StreamAnalytics/streamingjobs/{self._job_name}"
        found = self._metrics.read(resource, [metric.name for metric in metrics.values()], WINDOW)
        if all(series.newest is None for series in found.values()):  # Azure has none of a job that does not run
            reason = f"Azure has no metrics of {self._job_name} in the last {WINDOW.seconds // 60} minutes"
            yield from unknown(ROUTER_SIGNALS, self.subject, reason)
            return
        for signal, metric in metrics.items():
            yield self._observation(signal, _value(found[metric.name], metric))
        self._backlog = found[metrics["hub_backlog_events"].name].maximum

    def headroom(self) -> Iterator[Observation]:
        kept = float(self._environment.event_hubs.retention_hours)
        last = self._job.last_output_event_time if self._job else None
        if self._backlog == 0:
            yield self._observation("hub_headroom_hours", kept, "nothing waits", self._now)
        elif last is None:
            yield from unknown(
                ("hub_headroom_hours",), self.subject, "neither the backlog nor the last output is known"
            )
        else:  # heartbeats come all the time, so what was delivered last tells how old the oldest waiting event is
            waiting = (self._now - last.astimezone(UTC)).total_seconds() / SECONDS_PER_HOUR
            yield self._observation(
                "hub_headroom_hours", kept - waiting, f"delivered up to {last:%Y-%m-%d %H:%M:%S}", last
            )

    def hub(self) -> Iterator[Observation]:
        for signal in HUB_SIGNALS:
            metric = _metric(signal)
            namespace = f"Microsoft.EventHub/namespaces/{self._environment.event_hubs.namespace}"
            found = self._metrics.read(namespace, [metric.name], WINDOW, (metric.dimension, self._hub))
            yield self._observation(signal, _value(found[metric.name], metric), self._hub)

    def _observation(
        self, signal: str, value: float, detail: str = "", last_good: datetime | None = None
    ) -> Observation:
        return Observation(signal=signal, subject=self.subject, value=float(value), detail=detail, last_good=last_good)


def _metric(signal: str) -> PlatformMetric:
    metric = SIGNALS[signal].metric
    assert metric is not None, f"{signal} is no platform metric"
    return metric


def _value(series: Series, metric: PlatformMetric) -> float:
    return series.total if metric.aggregation == "Total" else series.maximum
