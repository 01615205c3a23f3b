-- name: llava_answers
-- title: What the small LLaVA answers, and what needs no look at the scene
-- description: Accuracy by type of question, with the right image, with another one, with none, and of what does not look at the scene.
SELECT profile, split, subset, method, role, accuracy, accuracy_low, accuracy_high, n, images
FROM llava_vqa.answers
ORDER BY profile, split, subset, accuracy DESC, method;

-- name: llava_maps
-- title: Which map points at what was asked about
-- description: Every method's maps on questions about one object of several. A hit is a map whose highest patch shows the object.
SELECT profile, split, method, role, hit, hit_low, hit_high, iou, inside, correlation, deletion, insertion, forwards, n, curves_n
FROM llava_vqa.tool_eval
WHERE subset = 'located'
ORDER BY profile, split, hit DESC, method;

-- name: llava_map_gains
-- title: The map of the best head against every other
-- description: Differences in hits on the same questions; the joint interval is corrected for the number of rivals.
SELECT profile, split, subset, other, other_role, value, low, high, joint_low, joint_high, n, images
FROM llava_vqa.contrasts
WHERE measure = 'hit' AND method = 'best head'
ORDER BY profile, split, subset, value DESC, other;

-- name: llava_absent
-- title: Does a map tell that the object is not there?
-- description: AUROC of numbers of the maps between questions about what is there and about what is not, beside the answer's own probability.
SELECT profile, split, method, score, auroc, low, high, gain, gain_low, gain_high, n, absent
FROM llava_vqa.absent
ORDER BY profile, split, auroc DESC, method, score;

-- name: llava_mechanism
-- title: What heads and patches carry, told and shown
-- description: The quantities that the paper reports, beside their controls, when the scene is told in words and when it is shown.
SELECT profile, quantity, condition, value, value_low, value_high, control, gain, gain_low, gain_high, n
FROM llava_vqa.mechanism
ORDER BY profile, quantity, condition;
