"""What Kubernetes' HorizontalPodAutoscaler makes of a metric: its arithmetic, step by step, as values. No I/O."""
