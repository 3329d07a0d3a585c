"""Small parts that learn in place of the layers that they stand beside, by peft."""
