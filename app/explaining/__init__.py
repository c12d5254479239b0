"""Why a metric has its value and what the autoscalers make of it: gathered, judged, and written for people or programs.

Gathering (gathering.py) asks kube-apiserver; judging (verdict.py, findings.py) and writing (page.py, document.py) only
work on what was gathered.
"""
