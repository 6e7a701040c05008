"""The program itself: windows, commands, controllers, the Workspace, the command line.

May import every floor below. Read ``compose.py`` first: it builds everything in order.
"""
