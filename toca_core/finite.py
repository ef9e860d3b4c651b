"""Numbers for JSON, which knows neither NaN nor infinity: what writes them anyway gives what no browser reads."""

import json
import math


def finite(value):
    """The same with None for every float that is no finite number, in dicts, lists and tuples."""
    if isinstance(value, dict):
        return {key: finite(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def dumps(value, indent: int | None = None) -> str:
    """As JSON, the numbers `finite`."""
    return json.dumps(finite(value), indent=indent, allow_nan=False)
