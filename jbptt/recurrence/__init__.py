"""Time: the scan forward, and backpropagation through it. Nothing here knows a cell by name."""
