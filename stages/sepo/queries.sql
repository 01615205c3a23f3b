-- name: sepo_methods
-- title: Preference methods at equal steps
-- description: Accuracy and margin on held-out pairs with their gain over the untrained policy; cost of a step against DPO with a live reference.
SELECT profile, "set", method, seeds, round(relative_cost, 3) AS relative_cost, round(tokens_used, 3) AS tokens_used, accuracy, accuracy_gain, accuracy_gain_low, accuracy_gain_high, margin, margin_gain, margin_gain_low, margin_gain_high
FROM sepo.summary
WHERE experiment = 'main'
ORDER BY profile, "set", margin_gain DESC;

-- name: sepo_hits
-- title: Which selector finds the changed words
-- description: Share of responses whose selected tokens overlap the span that makes a pair differ, against as many tokens drawn at random (gain) and as many of the least probable ones (lead).
SELECT profile, selector, side, share, taken, documents, hits, hits_low, hits_high, hits_by_chance, gain, gain_low, gain_high, lead, lead_low, lead_high
FROM sepo.selection
WHERE hits IS NOT NULL
ORDER BY profile, side, taken, hits DESC;
