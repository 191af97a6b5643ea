"""Standard MIDI files, format 0, of piano rolls."""

import numpy as np

TICKS = 480
"""Of a quarter."""

VELOCITY = 80


def of_roll(roll: np.ndarray, lowest: int, frames: int) -> bytes:
    """The file of a roll [T, K] of booleans: at each frame, of which a quarter has so many, which keys sound, the first
    of them the MIDI number `lowest`. What sounds in frames on end is one note."""
    silence = np.zeros_like(roll[:1])
    changes = np.diff(np.concatenate([silence, roll, silence]).astype(np.int8), axis=0)
    track, before = bytearray(), 0
    for frame, change in enumerate(changes):
        tick = round(frame * TICKS / frames)
        for status, keys in ((0x80, np.flatnonzero(change < 0)), (0x90, np.flatnonzero(change > 0))):  # off, then on
            for key in keys:
                track += _variable_length(tick - before) + bytes([status, lowest + int(key), VELOCITY])
                before = tick
    track += bytes([0, 0xFF, 0x2F, 0])  # the end of the track
    header = b"MThd" + b"".join(n.to_bytes(size, "big") for n, size in ((6, 4), (0, 2), (1, 2), (TICKS, 2)))
    return header + b"MTrk" + len(track).to_bytes(4, "big") + bytes(track)


def _variable_length(number):
    """Seven bits a byte, the highest first; all but the last have the eighth bit."""
    parts = [number & 0x7F]
    while number := number >> 7:
        parts.append(number & 0x7F | 0x80)
    return bytes(reversed(parts))
