"""Load a language model and run it in batches (torch). Imports `base`; for every stage that runs a model."""
