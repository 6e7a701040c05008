"""The network that paints what normal would look like. Read train.py first."""
