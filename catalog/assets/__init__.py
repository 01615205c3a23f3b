"""Raw files by their hash, and the conversion of downloaded weights. Imports `base` alone; for the stages `fetch` and `base_model`."""
