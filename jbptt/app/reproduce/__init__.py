"""`jbptt reproduce`: published results, run again: a table of them, a runner, and what was found beside what was said."""
