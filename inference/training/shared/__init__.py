"""What several trainings share: cases, whole heads, random fields, runs, checkpoints, cards."""
