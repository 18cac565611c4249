"""`bedside init`: look at the data, ask what it cannot know, write a first plan with its reasons as comments."""

from bedside.plan.init.init import Wishes, Written, init

__all__ = ["Wishes", "Written", "init"]
