"""Many images become attested anew: survey, plan, sign, batches, one confirming look."""
