"""The character model: its text, its model, and what the command line does with them."""
