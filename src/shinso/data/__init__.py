"""Rows of any source: read, cleaned, split, encoded once and cached. NumPy and Arrow only, never torch."""
