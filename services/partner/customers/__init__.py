"""The projection of partners' customers."""
