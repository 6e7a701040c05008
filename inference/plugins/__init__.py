"""Models, one file each, with the networks they are made of; torch lives here.

A plug-in is imported by name in the worker process only. It may import `inference.preprocess`,
`inference.model` and torch. Read `unet` first: the network of the lesion model.
"""
