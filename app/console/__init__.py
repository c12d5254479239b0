"""The web console: the queue, the pods and the reason in one place.

What is known (history.py, events.py, seen.py, autoscalers.py) becomes JSON by pure functions (overview.py, tube.py,
autoscaler.py), which pages.py serves once and feed.py again and again; guard.py stands before all of it.
"""
