"""Sequence to sequence: pairs of texts, the model, and what the command line does with them."""
