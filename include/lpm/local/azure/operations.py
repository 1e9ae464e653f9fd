"""Long-running operations: work in the background that a client polls."""

import logging
import threading
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from lpm.local.azure.errors import AzureError, not_found
from lpm.local.azure.store import Json

log = logging.getLogger(__name__)
KEPT = 500  # finished operations that can still be asked about


@dataclass
class Operation:
    """One piece of work. ``result`` is the body of a successful answer, if it has one."""

    id: str
    status: Literal["Running", "Succeeded", "Failed"] = "Running"
    result: Json | None = None
    error: AzureError | None = None

    def document(self) -> Json:
        """The answer of a status endpoint (``Azure-AsyncOperation``)."""
        answer: Json = {"id": self.id, "name": self.id, "status": self.status}
        return {**answer, "error": self.error.detail()} if self.error else answer


class Operations:
    """Runs work in threads and remembers how it ended, for as long as this process lives."""

    def __init__(self) -> None:
        self._operations: dict[str, Operation] = {}
        self._lock = threading.Lock()

    def start(self, work: Callable[[Operation], Json | None]) -> Operation:
        """Begin some work; it gets its own operation and returns the result."""
        operation = Operation(str(uuid.uuid4()))
        with self._lock:
            self._operations[operation.id] = operation
            for old in list(self._operations)[:-KEPT]:
                del self._operations[old]
        threading.Thread(
            target=self._run, args=(operation, work), daemon=True, name=f"operation-{operation.id}"
        ).start()
        return operation

    def get(self, operation_id: str) -> Operation:
        """An operation by its id.

        Raises:
            AzureError: never started, or started before the stand-in was.
        """
        with self._lock:
            if operation_id not in self._operations:
                raise not_found(f"The operation '{operation_id}' was not found.", operation_id, "OperationNotFound")
            return self._operations[operation_id]

    def _run(self, operation: Operation, work: Callable[[Operation], Json | None]) -> None:
        try:
            operation.result = work(operation)
            operation.status = "Succeeded"
        except AzureError as error:
            operation.error, operation.status = error, "Failed"
        except Exception as error:
            log.exception("operation %s", operation.id)
            operation.error = AzureError(500, "InternalServerError", f"{type(error).__name__}: {error}")
            operation.status = "Failed"
