-- name: fmdllama_methods
-- title: Labels of every method
-- description: Accuracy on all test claims, and its parts, NEI against the rest and True against False, in both settings.
SELECT profile, setting, method, model, n, accuracy, accuracy_low, accuracy_high, macro_f1, nei_rest, true_false, true_false_low, true_false_high, true_false_n
FROM fmdllama.scores
WHERE task = 'claim' AND kind = 'all' AND decoding <> 'written' AND accuracy IS NOT NULL
ORDER BY profile, setting, accuracy DESC, method, model;

-- name: fmdllama_kinds
-- title: What tuning changes, by kind of claim
-- description: Accuracy of each fine-tuned variant less that of the same model before tuning, on the same claims.
SELECT profile, setting, method, model, kind, value, low, high, n, contexts
FROM fmdllama.contrasts
WHERE task = 'claim' AND other = 'untuned' AND statistic = 'accuracy' AND decoding = 'likelihood'
ORDER BY profile, setting, method, kind;

-- name: fmdllama_attempts
-- title: True against False, by attempt
-- description: Share of right answers among claims that are True or False and were called either, of each variant and kind; half is chance.
SELECT profile, s.setting, s.method, s.model, v.form, v.contexts AS trained_on, s.kind, s.true_false, s.true_false_low, s.true_false_high, s.true_false_n
FROM fmdllama.scores AS s JOIN fmdllama.variants AS v USING (profile)
WHERE s.method = v.variant AND s.task = 'claim' AND s.true_false IS NOT NULL
ORDER BY profile, s.setting, s.method, s.decoding, s.kind;

-- name: fmdllama_leakage
-- title: Can the labels be guessed?
-- description: Linear models that see what must not tell the labels, beside chance; joint intervals are of all probes of the task together.
SELECT profile, task, probe, analyzer, chance, accuracy, joint_low, joint_high, n, contexts
FROM fmdllama.leakage
ORDER BY profile, task, accuracy DESC, probe, analyzer;
