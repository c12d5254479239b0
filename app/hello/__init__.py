"""The hello-world worker: what it does, and the page that shows it."""
