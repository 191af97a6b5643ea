"""Fast paths for whole recurrences: optional, imported when they are asked for, with the same results."""
