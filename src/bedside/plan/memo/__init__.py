"""What is remembered: the memo of finished actions, the digests that its keys rest on, what actions keep in the store,
and the scratch space of those that are under way."""

from bedside.plan.memo.memo import Derived, Done, Memo

__all__ = ["Derived", "Done", "Memo"]
