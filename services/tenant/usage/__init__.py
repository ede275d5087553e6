"""How much each tenant is used: who holds a seat, and when somebody was there last."""
