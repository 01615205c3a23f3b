"""Small LLaVAs: a vision tower, its projector and a language model, as stock classes of transformers."""
