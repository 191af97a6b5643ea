"""JSON as its standard has it, a line an object: it knows no NaN and no infinity, which become null."""

import json
import math
from typing import Any


def json_line(fields: dict[str, Any]) -> str:
    """The line of an object, of whatever json takes."""
    return json.dumps(_standard(fields), allow_nan=False)


def _standard(value):
    if isinstance(value, dict):
        return {name: _standard(each) for name, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_standard(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
