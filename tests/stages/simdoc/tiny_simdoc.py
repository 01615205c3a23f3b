"""Parameters of simdoc for tiny models."""

import dataclasses

from catalog.base.params import profile_params
from stages.simdoc.settings import Coherence, Params

SMALL = profile_params(Params, "simdoc", "small")
P = dataclasses.replace(
    SMALL.train, pairs=(("hard", "easy"), ("hard", "middle")), name_level=True, read_every=1, read_sources=True, max_source=0, max_target=0,
    row_tokens=64, batch_size=2, micro_batch=0, epochs=1, rank=2, targets=("q_proj", "v_proj"), layers_from=0.5, dropout=0.0,
)  # fmt: skip
C = Coherence("none", hidden=4, pooling="last", dropout=0.0, batch_size=4, learning_rate=0.05, weight_decay=0.0, epochs=30, patience=10)
