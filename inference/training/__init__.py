"""How the shipped models were trained and measured, a room for each network.

`lesions`, `planes` (with the thorough ensemble), `tissue`, `clicks`, `deviation` and `presence`
hold a module for each step: pictures (``synthesis``, ``data``), ``train``, ``evaluate``,
``package``. `shared` is what several rooms use; read first `shared.cases` (which data, which
patient is left out where). `own` trains on the cases of users, and only it is imported by the
application. May import torch, nibabel and SimpleITK.
"""
