"""The network of white-matter lesions on volumes: made-up patches, run, figures, package."""
