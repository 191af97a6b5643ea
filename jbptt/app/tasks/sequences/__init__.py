"""Supervised tasks on sequences: a file each, a row in the table, and one model, loop and command line for all."""
