"""The network that paints what normal would look like.

May import `lesions`, `tissue`, `shared` and torch. Read `train`, then `evaluate`.
"""
