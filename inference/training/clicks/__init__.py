"""The network that outlines what a click means.

May import `shared`, torch and the engine of clicks in `imaging`.
Read `synthesis` (what is clicked at), then `train`.
"""
