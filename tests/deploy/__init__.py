"""The images and the compose file, in a real engine: `python -m tests.deploy` (`make test-deploy`)."""
