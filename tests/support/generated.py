"""Generated examples: one factor sets how many examples every property test tries."""

import os
from typing import Any

from hypothesis import settings

FACTOR = float(os.environ.get("TEST_EXAMPLES_FACTOR", "0.25"))
"""Factor on the number of examples; ``make thorough`` sets 1, before a release."""

IS_THOROUGH = FACTOR >= 1

MIN_EXAMPLES = 20


def examples(count: int, **options: Any) -> settings:
    """Return settings with ``count`` examples in a thorough run, and fewer in an ordinary one."""
    number = max(min(count, MIN_EXAMPLES), round(count * FACTOR))
    return settings(max_examples=number, database=None, deadline=None, **options)
