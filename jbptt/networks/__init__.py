"""Whole networks, made of cells, the engine and layers."""
