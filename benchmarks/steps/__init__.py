"""Whole training steps of two tasks, by ourselves and by others, from the same weights on the same data."""
