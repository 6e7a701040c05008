"""Lesions and infarcts on planes, and the thorough ensemble. Read data.py first."""
