"""What becomes of every policy when something happens: a crowd, a shift, an outage, a fault, a changed clock, zero."""
