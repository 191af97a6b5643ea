"""Dates as people write them, in many languages and formats, into ISO 8601: made with the Unicode Consortium's locale
data, by Babel.

A text that could be two dates, 03/04/1998, is left out, so that every pair can be told. Years are of a window of a
hundred, so that 98 is one. Held out are days, and a format and locales whole.
"""

import itertools
import random
import re
from datetime import date, timedelta
from functools import cache

from jbptt.app.errors import UserError
from jbptt.app.tasks.translation.pairs import Data, Encoding, Pair, Vocabulary

try:
    from babel.dates import format_date, format_skeleton
except ImportError:
    raise UserError("train dates needs Babel: pip install 'jbptt[cli]'") from None

LOCALES = ("en_US", "en_GB", "de", "fr", "es", "it", "pt", "nl", "sv", "pl", "cs", "tr")
FORMATS = ("short", "medium", "long", "full", "yMd")
UNSEEN_LOCALES = ("ca", "da", "fi", "hu")
UNSEEN_FORMATS = ("yMMMEd",)
"""Babel's names of patterns, and skeletons: the fields, which the locale puts in order."""

DAYS = [date(1950, 1, 1) + timedelta(n) for n in range((date(2050, 1, 1) - date(1950, 1, 1)).days)]
HELD_OUT = 0.05
"""The share of days for validation, and the same for test."""

TESTED = 1000
"""Pairs in each held-out set."""


def dates_data(batch: int, seed: int) -> Data:
    """Pairs from the locale data, drawn as they are asked for."""
    days = list(DAYS)
    random.Random(0).shuffle(days)  # the same are held out, whatever the seed
    held_out = int(HELD_OUT * len(days))
    validation_days, test_days, days = days[:held_out], days[held_out : 2 * held_out], days[2 * held_out :]

    def drawn(key, number, days, locales, formats):
        draw = random.Random(key)
        return [_pair(draw, days, locales, formats) for _ in range(number)]

    every = [_text(day, locale, f) for day in _DISTINCT for locale in _EVERY_LOCALE for f in _EVERY_FORMAT]
    source, target = Vocabulary.of(every, words=False), Vocabulary.of(["0123456789-"], words=False)
    return Data(
        Encoding(source, target, source_size=max(map(len, every)), target_size=len("1998-03-03") + 1),
        of_step=lambda step: drawn(f"{seed} {step}", batch, days, LOCALES, FORMATS),
        validation=drawn("validation", TESTED, validation_days, LOCALES, FORMATS),
        tests={
            "held-out days": drawn("test", TESTED, test_days, LOCALES, FORMATS),
            "and an unseen format": drawn("formats", TESTED, test_days, LOCALES, UNSEEN_FORMATS),
            "and unseen locales": drawn("locales", TESTED, test_days, UNSEEN_LOCALES, FORMATS),
        },
    )


_EVERY_LOCALE, _EVERY_FORMAT = LOCALES + UNSEEN_LOCALES, FORMATS + UNSEEN_FORMATS
_DISTINCT = [date(2000, month, day) for month in range(1, 13) for day in range(20, 28)]
"""Days with every name of a month beside every name of a day of the week."""


def _pair(draw, days, locales, formats):
    while True:
        day, locale, pattern = draw.choice(days), draw.choice(locales), draw.choice(formats)
        text = _text(day, locale, pattern)
        if not _has_another_meaning(text, day):
            return Pair(text, day.isoformat())


def _text(day, locale, pattern):
    if pattern in ("short", "medium", "long", "full"):
        return format_date(day, pattern, locale)
    return format_skeleton(pattern, day, locale=locale)


def _has_another_meaning(text, day):
    """Whether a text in numbers alone is also how another day is written somewhere."""
    if not _is_numeric(text):
        return False
    numbers = [int(number) for number in re.findall(r"\d+", text)]
    others = {_day(*order) for order in itertools.permutations(numbers)} - {None, day}
    return any(_text(other, *how) == text for other in others for how in _numeric())


def _is_numeric(text):
    return not any(character.isalpha() for character in text)


def _day(year, month, day):
    """The day of the window, a year of two digits included; None if there is none."""
    if year < 100:
        year += 1900 if year >= 50 else 2000
    try:
        day = date(year, month, day)
    except ValueError:
        return None
    return day if DAYS[0] <= day <= DAYS[-1] else None


@cache
def _numeric():
    """The locales and formats that write numbers alone; one of those that write alike."""
    probes = date(1998, 3, 4), date(2011, 12, 25)
    ways = {
        tuple(_text(day, locale, f) for day in probes): (locale, f) for locale in _EVERY_LOCALE for f in _EVERY_FORMAT
    }
    return [way for texts, way in ways.items() if all(map(_is_numeric, texts))]
