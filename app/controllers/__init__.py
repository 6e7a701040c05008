"""Each controller joins two things: a panel and the workspace, a worker and the case."""
