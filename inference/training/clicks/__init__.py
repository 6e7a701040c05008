"""The network that outlines what a click means."""
