"""The notes of a score in compressed MusicXML (.mxl): when each sounds. Repeats are not followed."""

import zipfile
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree

STEPS = {"C": 0, "D": 2, "E": 4, "F": 5, "G": 7, "A": 9, "B": 11}


class Note(NamedTuple):
    """A MIDI number, and from when to when, in quarters."""

    pitch: int
    start: Fraction
    end: Fraction


class Score(NamedTuple):
    """How many parts there are, the key signature's sharps (flats, if negative), and the notes."""

    parts: int
    fifths: int
    notes: list[Note]


def read(path: Path) -> Score:
    """The score in a file that a package ships."""
    with zipfile.ZipFile(path) as archive:
        container = ElementTree.fromstring(archive.read("META-INF/container.xml"))
        rootfile, *_ = container.findall(".//{*}rootfile")
        root = ElementTree.fromstring(archive.read(rootfile.attrib["full-path"]))
    parts = root.findall("part")
    notes = [note for part in parts for note in _notes(part)]
    return Score(len(parts), int(root.findtext(".//key/fifths") or 0), notes)


def _notes(part):
    divisions, begins = 1, Fraction(0)
    for measure in part.findall("measure"):
        now = last = furthest = begins
        for element in measure:
            divisions = int(element.findtext("divisions") or divisions)
            length = Fraction(element.findtext("duration") or 0) / divisions
            if element.tag == "backup":
                now -= length
            elif element.tag == "forward":
                now += length
            elif element.tag == "note":
                start = last if element.find("chord") is not None else now
                if (pitch := element.find("pitch")) is not None and length > 0:  # a grace note has no length
                    yield Note(_midi(pitch), start, start + length)
                last, now = start, start + length
            furthest = max(furthest, now)
        begins = furthest


def _midi(pitch):
    alter = int(pitch.findtext("alter") or 0)
    return 12 * (int(pitch.findtext("octave")) + 1) + STEPS[pitch.findtext("step")] + alter
