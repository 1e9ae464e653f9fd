"""The router: one Stream Analytics project per environment and shard, in Microsoft's own file format (DESIGN 4)."""

from lpm.render.router.outputs import BlobOutput, Output, SqlOutput, outputs
from lpm.render.router.project import project_folder, render
from lpm.render.router.query import COLUMNS, ERROR_POLICY, INPUT, query

__all__ = [
    "COLUMNS",
    "ERROR_POLICY",
    "INPUT",
    "BlobOutput",
    "Output",
    "SqlOutput",
    "outputs",
    "project_folder",
    "query",
    "render",
]
