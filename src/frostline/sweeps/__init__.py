"""Many runs: what is searched, in which order, and which of them is tested."""
