"""Measurements that anyone can run again: `python -m benchmarks.peers`. See NOTES.md."""
