"""A released network made smaller or faster: the same plan, one action more, and gates on what it cost."""

from bedside.plan.compress.compress import Compression, compress

__all__ = ["Compression", "compress"]
