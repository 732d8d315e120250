"""A run to a directory that other programs, and shinso without torch, can run, proven equal."""
