"""What a person looks at: the report of a fit, one HTML file, and the model's card."""

from latelier.report.card import write_card
from latelier.report.dissection import write_dissection
from latelier.report.likeness import write_likeness
from latelier.report.page import write_report

__all__ = ["write_report", "write_likeness", "write_dissection", "write_card"]
