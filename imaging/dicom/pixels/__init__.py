"""From bytes to stored values: encodings, fragments, code streams, overlay planes.

Read ``read.py`` first; which library decodes what stands in ``codestream.py``. May import the
room ``header`` and, in worker processes, the decoders.
"""
