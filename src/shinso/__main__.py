"""`python -m shinso` is `shinso`."""

from .cli import run

run()
