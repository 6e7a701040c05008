"""Lesions and infarcts on planes, and the thorough ensemble they are part of.

May import `lesions`, `shared` and torch. Read `data` (which patients), then `synthesis`.
"""
