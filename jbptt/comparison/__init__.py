"""Manual against auto: error, time and memory, for a pair of functions and for everything in this library."""
