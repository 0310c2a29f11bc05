"""What is odd in a table, or in network traffic. ``detector.py`` says it; what it stands on is in the files beside it."""

from latelier.detector.density import MEMBERS
from latelier.detector.detector import Detector
from latelier.detector.folder import PAGE

__all__ = ["MEMBERS", "PAGE", "Detector"]
