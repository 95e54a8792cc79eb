"""Pages that show what runs, sweeps and checks came to."""

from videomae_train.reporting.page import write_report
from videomae_train.reporting.parts import (
    Cell,
    Command,
    Commands,
    Figure,
    Gallery,
    Part,
    Remark,
    Remarks,
    Report,
    Score,
    Scores,
    Section,
    Setting,
    Settings,
    Table,
    Text,
    Tone,
)

__all__ = [
    "Cell",
    "Command",
    "Commands",
    "Figure",
    "Gallery",
    "Part",
    "Remark",
    "Remarks",
    "Report",
    "Score",
    "Scores",
    "Section",
    "Setting",
    "Settings",
    "Table",
    "Text",
    "Tone",
    "write_report",
]
