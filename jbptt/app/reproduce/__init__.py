"""`jbptt reproduce`: published results, run again: a table, a runner, and what was found beside what was said."""
