"""Pages that show what runs and sweeps came to."""

from videomae_train.reporting.page import Command, Figure, Report, Score, Setting, write_report

__all__ = ["Command", "Figure", "Report", "Score", "Setting", "write_report"]
