"""People: one record per human, whatever surface they sign in on."""
