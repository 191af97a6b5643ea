"""Calculus: what one time step computes, and its δ. Nothing here knows of time."""
