"""What several trainings share: cases, whole heads, random fields, checkpoints, cards.

May import torch, nibabel and SimpleITK, no other room.
Read `cases` (which data, which patient is left out where).
"""
