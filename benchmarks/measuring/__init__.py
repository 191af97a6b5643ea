"""How it is measured: runners, agreement, interleaved rounds, the machine's peak, and the rows that come of it."""
