"""Verifications: of the whole log, a range, or what came since; as one answer or as a job that resumes."""
