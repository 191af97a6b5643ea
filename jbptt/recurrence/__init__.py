"""Time: what a recurrence is given, a step with its masks and its vjp, the plain scan. Nothing here knows a cell by
name, or how backends go back through time."""
