"""White-matter lesions on volumes: patches, run, figures, package. Read synthesis.py first."""
