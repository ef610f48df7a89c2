"""The planner: the Python child of ``cask scheduler``, in the user's environment.

It does what needs Python: materialises graphs that the C reader does not know, and runs what people
ask to run on the scheduler (functions, feeds, plugins). docs/planner.md describes its messages.
"""
