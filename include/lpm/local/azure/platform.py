"""The parts of the stand-in together."""

from lpm.local.azure.deployments import Deployments
from lpm.local.azure.hubs import Hubs
from lpm.local.azure.jobs import Jobs
from lpm.local.azure.metrics import Meters
from lpm.local.azure.operations import Operations
from lpm.local.azure.resource_types import Parts
from lpm.local.azure.resources import Resources
from lpm.local.azure.settings import Settings
from lpm.local.azure.store import Store


class Platform:
    """One stand-in."""

    def __init__(self, settings: Settings) -> None:
        self.store = Store(settings.folder)
        self.operations = Operations()
        hubs = Hubs(settings.kafka)
        self.jobs = Jobs(settings, self.store, self.operations)
        self.resources = Resources(Parts(settings, self.store, hubs, self.jobs))
        self.deployments = Deployments(self.resources, self.store, self.operations)
        self.meters = Meters(settings, self.store, hubs, self.jobs)

    def open(self) -> None:
        """Take up what ran when the stand-in stopped."""
        self.deployments.give_up_interrupted()
        self.jobs.resume()
        self.meters.open()

    def close(self) -> None:
        """End the workers and write the state."""
        self.meters.close()
        self.jobs.close()
        self.store.save()
