"""Platform metrics, sampled from the real broker, the Event Hubs stand-in and the workers' own counters.

https://learn.microsoft.com/rest/api/monitor/metrics/list
"""

import logging
import re
import threading
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal

import httpx

from lpm.local.azure import worker_files
from lpm.local.azure.errors import AzureError, bad_request
from lpm.local.azure.hubs import Hubs
from lpm.local.azure.jobs import Jobs
from lpm.local.azure.settings import Settings
from lpm.local.azure.store import Json, Resource, ResourceId, Store
from lpm.local.azure.type_names import CONSUMER_GROUPS, HUBS, NAMESPACES, STREAMING_JOBS
from lpm.local.event_hubs.faults import THROTTLED

log = logging.getLogger(__name__)

SAMPLE_SECONDS = 2.0
KEPT_SECONDS = 3_900.0
STALE_SECONDS = 3.0  # a worker reports once a second; later its report is old
API_VERSIONS = frozenset({"2018-01-01", "2023-10-01", "2024-02-01"})
INTERVALS = {
    f"PT{number}{unit}": timedelta(minutes=number * {"M": 1, "H": 60}[unit])
    for number, unit in ((1, "M"), (5, "M"), (15, "M"), (30, "M"), (1, "H"), (6, "H"), (12, "H"))
} | {"P1D": timedelta(days=1)}
AGGREGATIONS = ("total", "average", "minimum", "maximum", "count")
FILTER = re.compile(r"\s*(\w+) eq '([^']*)'\s*")


@dataclass(frozen=True)
class Metric:
    """One published metric. A counter's points are what was added since the sample before."""

    name: str
    unit: Literal["Count", "Seconds", "Bytes", "Percent"]
    primary: str
    dimensions: tuple[str, ...]
    counter: bool


PUBLISHED: Mapping[str, tuple[Metric, ...]] = {
    NAMESPACES: tuple(
        Metric(name, "Count", "Total", ("EntityName",), True)
        for name in ("IncomingMessages", "OutgoingMessages", "ThrottledRequests")
    ),
    STREAMING_JOBS: (
        *(
            Metric(name, "Count", "Total", ("LogicalName",), True)
            for name in ("InputEvents", "OutputEvents", "Errors", "ConversionErrors", "DeserializationError")
        ),
        Metric("InputEventBytes", "Bytes", "Total", ("LogicalName",), True),
        Metric("InputEventsSourcesBacklogged", "Count", "Maximum", ("LogicalName",), False),
        Metric("OutputWatermarkDelaySeconds", "Seconds", "Maximum", ("LogicalName",), False),
    ),
}

Key = tuple[str, str, str]  # resource id in lower case, metric, value of its dimension
Sample = tuple[datetime, Mapping[Key, float]]


class Meters:
    """Samples everything every two seconds and answers from the samples of the last hour."""

    def __init__(self, settings: Settings, store: Store, hubs: Hubs, jobs: Jobs) -> None:
        self._settings = settings
        self._store = store
        self._hubs = hubs
        self._jobs = jobs
        self._samples: deque[Sample] = deque(maxlen=round(KEPT_SECONDS / SAMPLE_SECONDS))
        self._http = httpx.Client(trust_env=False)  # kept: a new one reads all certificates of the machine
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._keep_sampling, daemon=True, name="metrics")

    def open(self) -> None:
        """Begin to sample."""
        self._thread.start()

    def close(self) -> None:
        """End the sampling thread."""
        self._closing.set()
        if self._thread.is_alive():
            self._thread.join()
        self._http.close()

    def answer(self, resource: Resource, query: Mapping[str, str]) -> Json:
        """What Azure Monitor answers for a resource.

        Raises:
            AzureError: version, metric, interval, aggregation, time span or filter is not one that Azure publishes.
        """
        if query.get("api-version") not in API_VERSIONS:
            raise bad_request("InvalidApiVersionParameter", f"expected one of {', '.join(sorted(API_VERSIONS))}")
        metrics = _metrics(resource, query.get("metricnames", ""))
        interval = INTERVALS.get(query.get("interval", "PT1M").upper())
        if interval is None:
            raise bad_request("BadRequest", f"interval must be one of {', '.join(INTERVALS)}")
        begin, end = _timespan(query.get("timespan", ""))
        dimension, wanted = _filter(query.get("$filter", ""), metrics)
        return {
            "cost": 0,
            "timespan": f"{_text(begin)}/{_text(end)}",
            "interval": query.get("interval", "PT1M"),
            "namespace": resource.type,
            "resourceregion": resource.asked.get("location", ""),
            "value": [
                {
                    "id": f"{resource.id}/providers/Microsoft.Insights/metrics/{metric.name}",
                    "type": "Microsoft.Insights/metrics",
                    "name": {"value": metric.name, "localizedValue": metric.name},
                    "unit": metric.unit,
                    "errorCode": "Success",
                    "timeseries": [
                        {
                            "metadatavalues": [{"name": {"value": dimension.lower()}, "value": value}] if value else [],
                            "data": _data(points, begin, end, interval, _aggregations(query, metric)),
                        }
                        for value, points in self._series(resource, metric, wanted).items()
                    ],
                }
                for metric in metrics
            ],
        }

    def _series(
        self, resource: Resource, metric: Metric, wanted: str | None
    ) -> dict[str, list[tuple[datetime, float]]]:
        """Points by value of the dimension; all values in one series when none was asked for."""
        series: dict[str, list[tuple[datetime, float]]] = {}
        before: dict[Key, float] = {}
        for at, values in list(self._samples):
            found: dict[str, float] = {}
            for key, value in values.items():
                if key[:2] != (resource.id.lower(), metric.name):
                    continue
                added = value if not metric.counter else _added(before.get(key), value)
                before[key] = value
                name = key[2] if wanted is not None else ""
                if added is not None and wanted in (None, "*", key[2]):
                    found[name] = found.get(name, 0) + added if metric.counter else max(found.get(name, 0), added)
            for name, value in found.items():
                series.setdefault(name, []).append((at, value))
        return series

    def _keep_sampling(self) -> None:
        while True:
            try:
                self._samples.append((datetime.now(UTC), dict(self._sample())))
            except AzureError as error:  # the broker is away; there is no number then
                log.warning("no sample of the metrics: %s", error)
            except Exception:  # a thread that dies would look as if nothing ever happened again
                log.exception("no sample of the metrics")
            if self._closing.wait(SAMPLE_SECONDS):
                return

    def _sample(self) -> Iterator[tuple[Key, float]]:
        store, hubs = self._store, self._hubs
        with store.lock:
            topics = {ResourceId.parse(hub.id).name: hub for hub in store.of_type(HUBS)}
            groups = [ResourceId.parse(group.id).names for group in store.of_type(CONSUMER_GROUPS)]
            jobs = list(store.of_type(STREAMING_JOBS))
        ends = hubs.ends(tuple(topics))
        throttled = self._throttled()
        left = {(hub, group): hubs.committed(hub, group) for _, hub, group in groups if hub in ends}
        for hub, resource in topics.items():
            namespace = resource.id.lower().rsplit("/", 2)[0]
            yield (namespace, "IncomingMessages", hub), sum(ends.get(hub, {}).values())
            outgoing = [sum(offsets.values()) for (name, _), offsets in left.items() if name == hub]
            yield (namespace, "OutgoingMessages", hub), sum(outgoing)
            if throttled is not None:
                yield (namespace, "ThrottledRequests", hub), throttled.get(hub, 0)
        for job in jobs:
            yield from self._job(job, ends, left)

    def _throttled(self) -> Mapping[str, int] | None:
        """Requests by hub that were refused, as the Event Hubs stand-in counts them; None while it is away."""
        address = self._settings.event_hubs
        if not address:
            return {}
        try:
            answer = self._http.get(f"{address}{THROTTLED}").raise_for_status()
        except httpx.HTTPError as error:
            log.warning("no sample of throttled requests: %s", error)
            return None
        return dict(answer.json())

    def _job(
        self,
        resource: Resource,
        ends: Mapping[str, Mapping[int, int]],
        left: Mapping[tuple[str, str], Mapping[int, int]],
    ) -> Iterator[tuple[Key, float]]:
        """A job that does not run has no metrics."""
        progress = self._jobs.progress(resource)
        if progress is None:
            return
        job, source = resource.id.lower(), worker_files.source(resource)
        done = left.get((source.event_hub_name, source.consumer_group_name), {})
        waiting = {part: end - done.get(part, 0) for part, end in ends.get(source.event_hub_name, {}).items()}
        backlog = sum(max(0, count) for count in waiting.values())
        silent = (datetime.now(UTC) - progress.updated_at).total_seconds()
        delay = progress.watermark_delay_seconds + (silent if backlog and silent > STALE_SECONDS else 0)
        yield (job, "InputEvents", worker_files.input_alias(resource)), progress.input_events
        yield (job, "InputEventBytes", worker_files.input_alias(resource)), progress.input_bytes
        yield (job, "DeserializationError", worker_files.input_alias(resource)), progress.malformed
        yield (job, "InputEventsSourcesBacklogged", worker_files.input_alias(resource)), backlog
        yield (job, "OutputWatermarkDelaySeconds", ""), delay
        yield (job, "Errors", ""), 0  # of the query itself; a query that cannot go on ends its worker here
        for alias, output in progress.outputs.items():
            yield (job, "OutputEvents", alias), output.events
            yield (job, "ConversionErrors", alias), output.dropped + output.refused


def _added(before: float | None, value: float) -> float | None:
    """What a counter has grown by; None at its first sample. A smaller value is a counter that began anew."""
    if before is None:
        return None
    return value - before if value >= before else value


def _metrics(resource: Resource, names: str) -> list[Metric]:
    published = {metric.name.lower(): metric for metric in PUBLISHED.get(resource.type, ())}
    wanted = [name.strip() for name in names.split(",") if name.strip()]
    for name in wanted:
        if name.lower() not in published:
            provider, _, kind = resource.type.partition("/")
            raise bad_request(
                "BadRequest",
                f"Failed to find metric configuration for provider: {provider}, resource Type: {kind}, metric: {name}, "
                f"Valid metrics: {','.join(metric.name for metric in published.values())}",
            )
    return [published[name.lower()] for name in wanted] or list(published.values())[:1]


def _aggregations(query: Mapping[str, str], metric: Metric) -> list[str]:
    wanted = [name.strip().lower() for name in query.get("aggregation", metric.primary).split(",")]
    for name in wanted:
        if name not in AGGREGATIONS:
            raise bad_request("BadRequest", f"aggregation {name!r} must be one of {', '.join(AGGREGATIONS)}")
    return wanted


def _timespan(text: str) -> tuple[datetime, datetime]:
    now = datetime.now(UTC)
    if not text:
        return now - timedelta(hours=1), now
    try:
        begin, end = (datetime.fromisoformat(part).astimezone(UTC) for part in text.split("/"))
    except ValueError:
        raise bad_request("BadRequest", f"timespan {text!r} is not <begin>/<end>") from None
    if end <= begin:
        raise bad_request("BadRequest", f"timespan {text!r} ends before it begins")
    return begin, end


def _filter(text: str, metrics: Sequence[Metric]) -> tuple[str, str | None]:
    if not text:
        return "", None
    match = FILTER.fullmatch(text)
    known = [dimension for metric in metrics for dimension in metric.dimensions]
    if match is None or match[1].lower() not in [dimension.lower() for dimension in known]:
        raise bad_request("BadRequest", f"$filter {text!r} is not <dimension> eq '<value>' of {', '.join(set(known))}")
    return match[1], match[2]


def _data(
    points: Sequence[tuple[datetime, float]], begin: datetime, end: datetime, interval: timedelta, wanted: Sequence[str]
) -> list[Json]:
    """One entry for each interval; one in which nothing was sampled has a time and no number."""
    entries: list[Json] = []
    start = begin
    while start < end:
        values = [value for at, value in points if start <= at < min(start + interval, end)]
        computed = {
            "total": sum(values),
            "count": len(values),
            "average": sum(values) / len(values),
            "minimum": min(values),
            "maximum": max(values),
        } if values else {}  # fmt: skip
        entries.append({"timeStamp": _text(start), **{name: computed[name] for name in wanted if computed}})
        start += interval
    return entries


def _text(moment: datetime) -> str:
    return moment.isoformat(timespec="seconds").replace("+00:00", "Z")
