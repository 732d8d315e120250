"""A run, told to a person: one page of HTML, or a few lines in a terminal."""
