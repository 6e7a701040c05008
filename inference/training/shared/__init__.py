"""What several trainings share: cases, random fields, checkpoints. Read cases.py first."""
