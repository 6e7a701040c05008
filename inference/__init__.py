"""Models: what they say about themselves, and a worker process that runs them.

The window's process reads cards (`registry`, `model`) and asks (`client`); it never imports torch.
The worker (`worker`, `engine`) does a request along `pipeline`, with a plug-in from `plugins`.
Values travel as `messages` and in `shared_arrays`. This package may import `imaging`, numpy and
scipy; torch only in `plugins`, `training` and inside functions of `devices` and `engine`.
Read `model` first, then `client`.
"""
