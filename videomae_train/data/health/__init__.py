"""What is good and bad about a set of videos: from inspected videos to findings and statistics.

Pure functions: nothing here opens a file. A new finding is a function of an `InspectedSet`, named in `diagnosis`.
"""

from videomae_train.data.health.diagnosis import diagnose
from videomae_train.data.health.findings import ClipShape, Finding, Severity
from videomae_train.data.health.statistics import SetStatistics, Spread, measure_set

__all__ = ["ClipShape", "Finding", "SetStatistics", "Severity", "Spread", "diagnose", "measure_set"]
