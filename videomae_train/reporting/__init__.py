"""Pages that show what runs, sweeps and checks came to."""

from videomae_train.reporting.page import Command, Figure, Remark, Report, Score, Setting, Table, write_report

__all__ = ["Command", "Figure", "Remark", "Report", "Score", "Setting", "Table", "write_report"]
