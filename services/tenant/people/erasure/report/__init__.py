"""What has become of an erasure: who has forgotten what and when, and what remains until when and why."""
