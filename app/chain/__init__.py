"""The chain from beanstalkd to the autoscaler, link by link, as the smoke test walks it."""
