"""White-matter lesions on volumes: patches, run, figures, package.

May import `shared` and torch. Read `synthesis` (a patch, step by step), then `train`.
"""
