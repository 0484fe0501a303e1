"""What the neurons of a trained model do: interventions on masks, gradients, stability, families."""
