"""JSON from outside, read with care (JSON for outside: `toca_core/finite.py`)."""

import json

from ..toca_core.checks import cut


def loads(data: bytes):
    """What a JSON text in UTF-8, UTF-16 or UTF-32 holds, with or without a byte order mark; NaN and Infinity too, for the checks of
    settings to refuse by name.

    Raises ValueError, in words, for anything else: numbers of thousands of digits, and brackets in brackets without end.
    """
    try:
        return json.loads(data, parse_int=whole)
    except RecursionError:
        raise ValueError("its brackets are nested too deeply") from None
    except UnicodeDecodeError:
        raise ValueError("it is no text in UTF-8 or UTF-16") from None
    except json.JSONDecodeError as error:
        raise ValueError(f"it is no JSON: {cut(str(error))}") from None


def whole(digits: str) -> int:
    if len(digits) > 1000:
        raise ValueError(f"it holds a number of {len(digits)} digits")
    return int(digits)
