"""Synthetic data: simulators whose truth is known, each a documented causal model.

Everything made here is SIMULATED and says so in its schema's name and its lineage. Faces: `admissions.simulate`,
`phantom2d.simulate`.
"""
