"""``make demo``: the main job, step by step, as the people of the platform do it."""
