"""How a recurrence is run: each backend is a file, or a folder, that exports a `Backend`."""
