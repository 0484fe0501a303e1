"""nsmt beside its peers, measured in one run; `nsmt bench` wires them up."""
