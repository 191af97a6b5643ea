"""Benchmarks: ours against everybody, on equal weights, agreement first. See NOTES.md."""
