"""The network that outlines what a click means. Read synthesis.py first."""
