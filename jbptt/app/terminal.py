"""What is shown on a terminal."""

import sys

CONTROLS = (
    {code: 0x2400 + code for code in range(32) if chr(code) not in "\t\n"}  # ␀ to ␟
    | {0x7F: 0x2421}  # ␡
    | dict.fromkeys(range(0x80, 0xA0), 0xFFFD)
)


def shown(text: str) -> str:
    """The text; on a terminal, which would obey them, with pictures of its control characters."""
    return text.translate(CONTROLS) if sys.stdout.isatty() else text
