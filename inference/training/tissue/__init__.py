"""The network of brain and tissues on any contrast.

May import `shared` and torch. Read `synthesis`, then `train`.
"""
