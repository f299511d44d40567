//! A simulated beacon node and execution client: real HTTP, real BLS, real SSZ, an invented chain
