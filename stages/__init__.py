"""Pipeline stages: the shared ones, and one folder a system. Each is run as `python -m stages.<module> <argument>`."""
