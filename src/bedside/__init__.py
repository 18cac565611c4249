"""Bedside: from hospital data to bedside AI, with the evidence attached.

Research use: nothing here is a cleared medical device.
"""

__version__ = "0.1.0"
