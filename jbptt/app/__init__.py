"""The command line and what it runs: tasks, training, checkpoints, plots. Nothing else in jbptt imports this."""
