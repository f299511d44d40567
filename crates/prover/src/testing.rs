//! Test support (feature `testing`).

mod stub_web3signer;

pub use stub_web3signer::{SignerFaults, StubWeb3Signer, TlsFiles};
