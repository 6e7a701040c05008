"""Each controller joins two things: a panel and the workspace, a worker and the case.

May import every floor below, and from ``app`` the Workspace, tasks, settings and panels;
``compose.py`` makes and joins them. Read ``cases.py`` first, then ``views.py``.
"""
