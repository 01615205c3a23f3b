"""Look into a causal language model and change it: attribution, scans, interventions, patches (torch). Imports `base` and `models`."""
