"""How the shipped models were trained and measured; never imported by the application.

Read first `cases` (which data, which patient is left out where), then `synthesis`, `train`,
`evaluate` and `package`. May import torch, nibabel and SimpleITK.
"""
