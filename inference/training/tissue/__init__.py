"""The network of brain and tissues on any contrast. Read synthesis.py first."""
