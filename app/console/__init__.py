"""The web console: tubes, jobs, autoscalers and the reasons for their pods.

serve.py connects everything. A request passes middleware.py, then its route in routes.py, actions.py or jobs.py.
Pages are computed by page_data.py from overview.py, autoscalers.py, history.py and events.py, and sent by feed.py.
"""
