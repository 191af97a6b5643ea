"""Who takes part: one file a family, each with a `build(cell, weights)`, all behind the protocol in protocol.py."""
