"""The lecture's first half: activations, losses, a layer, and the multilayer perceptron."""
