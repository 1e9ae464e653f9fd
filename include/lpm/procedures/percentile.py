"""The one way in which percentiles of single values are taken."""

import math
from collections.abc import Sequence


def percentile(ascending: Sequence[float], share: float) -> float:
    """The smallest of the values within which that share of all lies."""
    return ascending[max(0, math.ceil(share * len(ascending)) - 1)]
