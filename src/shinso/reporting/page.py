"""The report: one page of HTML that needs nothing else."""

from __future__ import annotations

import html

from .data import ReportData
from .terminal import summary_lines


def build_report(data: ReportData) -> str:
    """The whole page."""
    text = "\n".join(summary_lines(data.evaluation))
    title = html.escape(data.name)
    return f'<!doctype html><meta charset="utf-8"><title>{title}</title><h1>{title}</h1><pre>{html.escape(text)}</pre>'
