"""The stand-in's metrics are what it sampled, in the shape that Azure publishes."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from lpm.clients.metrics import _series
from lpm.local.azure.errors import AzureError
from lpm.local.azure.metrics import Meters
from lpm.local.azure.store import Resource
from lpm.local.azure.type_names import NAMESPACES, STREAMING_JOBS

GROUP = "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/rg/providers"
JOB = Resource(id=f"{GROUP}/{STREAMING_JOBS}/asa", type=STREAMING_JOBS, api_version="x", asked={"location": "local"})
NAMESPACE = Resource(id=f"{GROUP}/{NAMESPACES}/evh", type=NAMESPACES, api_version="x", asked={})
BEGIN = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)


def meters(resource: Resource, *samples: tuple[float, dict[tuple[str, str], float]]) -> Meters:
    """With samples taken so many seconds after the beginning: (metric, value of its dimension) -> number."""
    made = Meters(None, None, None, None)  # type: ignore[arg-type]  # answering needs no other part
    for seconds, values in samples:
        keyed = {(resource.id.lower(), *key): value for key, value in values.items()}
        made._samples.append((BEGIN + timedelta(seconds=seconds), keyed))
    return made


def ask(made: Meters, resource: Resource, names: str, minutes: float = 3, **query: str) -> dict[str, Any]:
    timespan = f"{BEGIN.isoformat()}/{(BEGIN + timedelta(minutes=minutes)).isoformat()}"
    return made.answer(resource, {"api-version": "2023-10-01", "metricnames": names, "timespan": timespan, **query})


def test_a_counter_is_told_as_what_was_added_in_each_minute():
    made = meters(NAMESPACE, *((seconds, {("IncomingMessages", "hub"): seconds * 2.0}) for seconds in range(0, 150, 2)))
    [metric] = ask(made, NAMESPACE, "IncomingMessages", aggregation="Total")["value"]
    [series] = metric["timeseries"]
    assert [point.get("total") for point in series["data"]] == [116, 120, 60]
    assert metric["name"]["value"] == "IncomingMessages"
    assert _series(metric).total == 296, "as our client reads it"


def test_a_counter_that_begins_anew_loses_nothing():
    counts = [10.0, 14.0, 3.0, 5.0]  # a worker was started again
    made = meters(JOB, *((number, {("InputEvents", "hub"): count}) for number, count in enumerate(counts)))
    [metric] = ask(made, JOB, "InputEvents", aggregation="Total")["value"]
    assert _series(metric).total == 4 + 3 + 2


def test_the_greatest_of_a_gauge_is_told_and_a_minute_without_a_sample_has_no_number():
    made = meters(JOB, (1, {("OutputWatermarkDelaySeconds", ""): 4.0}), (2, {("OutputWatermarkDelaySeconds", ""): 9.0}))
    [metric] = ask(made, JOB, "OutputWatermarkDelaySeconds", aggregation="Maximum")["value"]
    assert metric["timeseries"][0]["data"] == [
        {"timeStamp": "2026-11-24T12:00:00Z", "maximum": 9.0},
        {"timeStamp": "2026-11-24T12:01:00Z"},
        {"timeStamp": "2026-11-24T12:02:00Z"},
    ]
    assert _series(metric).newest == BEGIN


def test_a_filter_chooses_one_hub_and_a_star_tells_them_apart():
    both = [(second, {("ThrottledRequests", "a"): second * 1.0, ("ThrottledRequests", "b"): 0.0}) for second in (0, 7)]
    made = meters(NAMESPACE, *both)
    for wanted, totals in (("a", [7]), ("b", [0]), ("*", [7, 0])):
        query = {"$filter": f"EntityName eq '{wanted}'", "aggregation": "Total"}
        [metric] = ask(made, NAMESPACE, "ThrottledRequests", minutes=1, **query)["value"]
        assert [series["data"][0]["total"] for series in metric["timeseries"]] == totals


def test_a_resource_without_samples_has_no_series():
    [metric] = ask(meters(JOB), JOB, "InputEvents")["value"]
    assert metric["timeseries"] == []
    assert _series(metric).newest is None


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ({"metricnames": "Incoming"}, "Failed to find metric configuration for provider: Microsoft.EventHub, resource"),
        ({"interval": "PT7M"}, "interval must be one of PT1M, PT5M"),
        ({"aggregation": "Median"}, "aggregation 'median' must be one of total"),
        ({"timespan": "yesterday"}, "is not <begin>/<end>"),
        ({"$filter": "Colour eq 'red'"}, "is not <dimension> eq '<value>' of EntityName"),
        ({"api-version": "1999-01-01"}, "expected one of 2018-01-01"),
    ],
)
def test_what_azure_does_not_publish_is_refused(query, message):
    made = meters(NAMESPACE, (0, {("IncomingMessages", "hub"): 0.0}), (1, {("IncomingMessages", "hub"): 1.0}))
    with pytest.raises(AzureError, match=message.replace("(", r"\(")):
        ask(made, NAMESPACE, "IncomingMessages", **query)
