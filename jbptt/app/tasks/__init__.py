"""What can be trained from the command line, one file a task."""
