"""Models over the network: the server, its batching, its protocols, its page. Without torch."""
