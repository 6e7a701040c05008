"""Model cards and weights, themes: data that is installed with the program, and no code.

Read ``models/flair-wml/card.toml`` first. ``folds/`` holds the weights behind a card's figures:
they are needed to measure again, not to run, and stay out of the wheel.
"""
