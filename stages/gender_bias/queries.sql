-- name: gender_edits
-- title: What every edit does to the bias, and what it costs
-- description: Relative fall of mean |log-odds| and of its spread over held-out words, change of perplexity, agreement with the unedited model, definitional words on the right side.
SELECT profile, model, method, seed, neurons, abs_d_drop, abs_d_drop_low, abs_d_drop_high, spread_drop, perplexity_change, agreement, factual_right
FROM gender_bias.edits
ORDER BY profile, model, abs_d_drop DESC NULLS LAST, method, seed;

-- name: gender_words
-- title: The words a model leans furthest on
-- description: Mean log-odds of man against woman over the wordings of a word (nats), before and after the combined edit; above 0 towards man.
SELECT profile, model, category, word, avg(d) AS log_odds, avg(d_combined) AS after_edit, count(*) AS prompts
FROM gender_bias.words
GROUP BY ALL
ORDER BY abs(log_odds) DESC, profile, model, category, word
LIMIT 40;

-- name: gender_neurons
-- title: The neurons of the combined edit
-- description: Layer, index, the factor a neuron is turned down to, what switching it off does to bias and neutral text, what it promotes and which words activate it.
SELECT profile, model, layer, "index", combined_rank, combined_factor, fall, neutral_kl, promotes, activated_by
FROM gender_bias.neurons
WHERE combined_rank IS NOT NULL
ORDER BY profile, model, combined_rank;
