"""What can run a recurrence: one file or folder a backend, each with the same results."""
