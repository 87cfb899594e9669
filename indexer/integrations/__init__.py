"""The service inside of applications."""
