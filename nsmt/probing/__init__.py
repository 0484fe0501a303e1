"""What the neurons of a trained model do: masks, gradients, transfer, stability, families."""
