"""How often something is done."""

import math
from typing import NamedTuple


class Every(NamedTuple):
    """After so many steps, or so many seconds."""

    steps: float = math.inf
    seconds: float = math.inf

    @classmethod
    def of(cls, text: str) -> "Every":
        """Of steps, "500", or of minutes, "2m". Raises ValueError for anything else."""
        number, minutes = float(text.removesuffix("m")), text.endswith("m")
        if not 0 < number < math.inf or not (minutes or number.is_integer()):
            raise ValueError(text)
        return cls(seconds=60 * number) if minutes else cls(steps=number)
