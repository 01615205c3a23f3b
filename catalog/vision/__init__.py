"""Language models that see: an image tower, the making and the training of a small LLaVA. Imports what `training` does, and it."""
