"""A whole training step of the character model, by ourselves and by others, from the same weights on the same text."""
