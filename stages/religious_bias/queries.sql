-- name: religion_masks
-- title: Which religion masked words are raised for
-- description: Prior-corrected log ratio of each religion (nats), its difference to the mean of religions with its interval, and the corrected p of the gap.
SELECT profile, model, stem, religion, mean AS log_ratio, diff AS less_the_mean, ci_low, ci_high, p_holm
FROM religious_bias.gaps
WHERE score = 'log ratio'
ORDER BY profile, model, stem, diff DESC;

-- name: religion_mitigation
-- title: What corrective prompts change
-- description: Mean score before and after, the paired difference over templates with its interval, and what the prompt costs in utility.
SELECT profile, model, task, score, mitigation, n, before, after, delta, ci_low, ci_high, p_holm, utility_before, utility_after
FROM religious_bias.mitigation
WHERE religion = 'all'
ORDER BY profile, model, task, mitigation;

-- name: religion_images
-- title: Does the image audit find what was planted
-- description: Excess of the most frequent marker over an equal share, with its simultaneous interval, beside the planted excess.
SELECT profile, model, "group", condition, religion, n, excess, ci_low, ci_high, biased, planted, target, inside
FROM religious_bias.image_excess
ORDER BY profile, model, "group", condition;
