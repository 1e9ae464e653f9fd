"""The long proof: rounds of reconciliation under write load, with faults made by hand and parts killed."""
