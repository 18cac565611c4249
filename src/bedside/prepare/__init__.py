"""Prepare: what is done to a cohort before a model sees it.

`clean` repairs before the split and learns nothing; `steps` are fitted on the training part, saved and replayed; `card`
describes a cohort as Evidence.
"""
