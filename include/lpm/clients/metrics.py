"""Platform metrics of Azure Monitor over Resource Manager."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from lpm.clients.azure_resource_manager import ResourceManager

API_VERSION = "2023-10-01"
INTERVAL = "PT1M"  # the finest; Azure is 1 to 3 minutes late


@dataclass(frozen=True)
class Series:
    """One metric over some minutes, of one value of its dimension or of all together.

    Attributes:
        totals: The sum within each minute that has one.
        maxima: The greatest within each minute that has one.
        newest: The last minute that has a number (UTC), None without any.
    """

    totals: tuple[float, ...] = ()
    maxima: tuple[float, ...] = ()
    newest: datetime | None = None

    @property
    def total(self) -> float:
        """The sum of all minutes."""
        return sum(self.totals)

    @property
    def maximum(self) -> float:
        """The greatest of all minutes; 0 without any."""
        return max(self.maxima, default=0.0)


class Metrics:
    """The metrics of one resource group's resources."""

    def __init__(self, manager: ResourceManager) -> None:
        self._manager = manager

    def read(
        self, resource: str, names: Sequence[str], window: timedelta, dimension: tuple[str, str] | None = None
    ) -> Mapping[str, Series]:
        """Some metrics of a resource, by their names. One that has no number in the window has an empty series.

        Args:
            resource: Id of the resource below the resource group, such as ``Microsoft.EventHub/namespaces/x``.
            names: Of at most 20 metrics of that resource's type.
            window: How far to look back.
            dimension: Name and value of a dimension to look at alone.

        Raises:
            AzureError: Azure refused it or could not be reached.
        """
        now = datetime.now(UTC)
        timespan = "/".join(f"{moment:%Y-%m-%dT%H:%M:%SZ}" for moment in (now - window, now))
        query = {
            "metricnames": ",".join(names),
            "timespan": timespan,
            "interval": INTERVAL,
            "aggregation": "Total,Maximum",
            **({"$filter": f"{dimension[0]} eq '{dimension[1]}'"} if dimension else {}),
        }
        path = f"{self._manager.group}/providers/{resource}/providers/Microsoft.Insights/metrics"
        answer = self._manager.call("GET", path, API_VERSION, query=query).json()
        found = {metric["name"]["value"]: _series(metric) for metric in answer["value"]}
        return {name: found.get(name, Series()) for name in names}


def _series(metric: Mapping[str, Any]) -> Series:
    points = [point for series in metric["timeseries"] for point in series["data"]]
    moments = [point["timeStamp"] for point in points if "total" in point or "maximum" in point]
    return Series(
        totals=tuple(float(point["total"]) for point in points if "total" in point),
        maxima=tuple(float(point["maximum"]) for point in points if "maximum" in point),
        newest=datetime.fromisoformat(max(moments)).astimezone(UTC) if moments else None,
    )
